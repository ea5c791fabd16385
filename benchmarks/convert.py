"""What space auto costs: seconds of a conversion, and memory of training beside the plain network's.

    python benchmarks/convert.py [MODULE:FUNCTION of pytorchcv.models]        as benchmarks/zoo.py names them

Each number is of a process of its own on one thread. Seconds are CPU time of the first conversion of a process, with
what that imports. Memory is how far the resident set's peak lies above what was there before the network: of a process
that trains the network, its space under the largest architecture, or its space under a random one (conversion, weights,
gradients, momentum and all). Ends with 1 where the largest takes more than 1.1 times what the network takes.
"""

import argparse
import multiprocessing
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.zoo import network
from winnow.core.choosers import uniform
from winnow.core.space import Space
from winnow.spaces.auto import auto

MOST = 1.1  # times the network's memory
STEPS = 2


def space_of(spec: str, side: int) -> Space:
    return auto(lambda: network(spec)[0], image_height=side, image_width=side)


def seconds(spec: str, batch: int) -> float:
    net, side = network(spec)
    began = time.process_time()
    auto(lambda: net, image_height=side, image_width=side)
    return time.process_time() - began


def trained(spec: str, batch: int, which: str) -> float:
    """MB that training `which` of network, largest and random takes at its peak."""
    before = psutil.Process().memory_info().rss
    side = network(spec)[1]
    model = network(spec)[0] if which == "network" else space_of(spec, side)
    x, y = torch.randn(batch, 3, side, side), torch.randint(1000, (batch,))
    descent = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    for step in range(STEPS):
        arch = None
        if isinstance(model, Space):
            arch = model.original if which == "largest" else model.decide(uniform(random.Random(step)))
        descent.zero_grad()
        F.cross_entropy(model(x) if arch is None else model(x, arch), y).backward()
        descent.step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before / 2**20


def alone(what: Callable[..., float], *given: object) -> float:
    """What a fresh process answers."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, torch.set_num_threads, (1,)) as pool:
        return pool.submit(what, *given).result()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", nargs="?", default="resnet:resnet50")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    took = [alone(seconds, given.network, given.batch) for _ in range(given.rounds)]
    print(f"conversion: median {statistics.median(took):.2f} s ({min(took):.2f} to {max(took):.2f}, n = {len(took)})")
    peaks = {which: alone(trained, given.network, given.batch, which) for which in ("network", "largest", "random")}
    for which, peak in peaks.items():
        print(f"{which}: {peak:.0f} MB, {peak / peaks['network']:.3f} of the network's, batch {given.batch}")
    return int(peaks["largest"] > MOST * peaks["network"])


if __name__ == "__main__":
    sys.exit(main())
