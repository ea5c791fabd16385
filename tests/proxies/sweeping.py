"""A small sweep; run as a script, `sweeping.py FOLDER THREADS`, it dies, killed, when six are scored."""

import os
import random
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from winnow.core.choosers import uniform
from winnow.proxies.sweep import Swept, sweep
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.train.seeds import generator, seeded

NAMES = ("params", "macs", "snip", "synflow", "naswot", "expressivity", "trainability", "zen")


def swept(folder: Path, names=NAMES, n: int = 9, labels: bool = True, seed: int = 0, **options) -> Swept:
    with seeded(0):
        space = nas_bench_201(channels=4, cells=1, classes=4, final=True)
    stream = random.Random(0)
    archs = [space.decide(uniform(stream)) for _ in range(n)]
    batch = torch.randn(8, 3, 8, 8, generator=generator(0, "images")), torch.arange(8) % 4 if labels else None
    return sweep(space, archs, names, batch, folder, streams=partial(generator, seed), part=3, **options)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    die = partial(os.kill, os.getpid(), signal.SIGKILL)
    swept(Path(sys.argv[1]), progress=lambda done, total: done == 6 and die())
