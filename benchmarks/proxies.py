"""Whole-space scoring of NAS-Bench-201 against the plain function, child by child, in turns, on one thread.

    python benchmarks/proxies.py --children 8

The plain function scores random architectures of all 15,625, as whoever knows nothing of duplicates would; shared work
scores random ones of the 5,260 networks that differ. Each pair of turns is one plain and one shared child of the same
draw. Processor time, so that other work on the machine counts little. "Times faster" is for the whole space: duplicates
are counted. "Apart" is the largest relative difference to the plain function of the same network.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence

import torch

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.proxies import AZ_NAS, PROXIES
from winnow.proxies.common import FAN_IN, Batch
from winnow.proxies.inside import az_nas_of, images_of, meco_of
from winnow.proxies.sizes import sizes_of
from winnow.proxies.together import synflow_of
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.tools.ranking import equals, noise_batch
from winnow.train.seeds import generator, seeded

Many = Callable[[Sequence[Architecture]], list[dict]]


def shared(name: str, space: Space, batch: Batch) -> Many:
    if name == "synflow":
        return synflow_of(space, batch)
    if name == "naswot":
        return images_of(space, batch, ("naswot",))
    if name == "meco":
        return meco_of(space, batch, generator(0, "meco"))
    features, sizes = az_nas_of(space, batch, generator(0, "az_nas")), sizes_of(space, tuple(batch[0].shape[1:]))
    return lambda archs: [
        row | {"complexity": sizes(a)["complexity"]} for a, row in zip(archs, features(archs), strict=True)
    ]


def plain(name: str, space: Space, batch: Batch, arch: Architecture) -> dict[str, float]:
    child = space.derive(arch)
    if name != "az_nas":
        chosen = PROXIES[name]
        return {name: chosen.score(child, batch, *([generator(0, name)] if chosen.draws else []))}
    drawn = {part: {"init": None} for part in AZ_NAS if PROXIES[part].draws}  # the space is initialised once
    return {
        part: PROXIES[part].score(
            child, batch, *([generator(0, "az_nas")] if part in drawn else []), **drawn.get(part, {})
        )
        for part in AZ_NAS
    }


def spent(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def measured(name: str, children: int, batch: Batch, seed: int) -> str:
    with seeded(seed):
        space = nas_bench_201(final=True)
    if name == "az_nas":
        FAN_IN(space, generator(seed, "weights"))
    every = list(space.every())
    represent = equals(every)
    networks = sorted({represent(arch) for arch in every}, key=Architecture.to_json)
    stream, score = random.Random(seed), shared(name, space, batch)
    group = 32 if name == "synflow" else 1  # children that are neighbours, as a sweep takes them
    score(networks[:group])  # layouts and shares are made once
    plain(name, space, batch, networks[0])
    one, many, apart = 0.0, 0.0, 0.0
    for arch in stream.sample(every, children):
        one += spent(lambda arch=arch: plain(name, space, batch, arch))
        start = stream.randrange(len(networks) - group)
        some: list[dict] = []
        many += spent(lambda start=start, some=some: some.extend(score(networks[start : start + group]))) / group
        expected = plain(name, space, batch, networks[start])
        apart = max(apart, *(abs(some[0][k] - v) / max(abs(v), 1e-9) for k, v in expected.items()))
    one, many = one / children, many / children
    faster = one * len(every) / (many * len(networks))
    whole = many * len(networks) / 60
    cells = f"{one * 1e3:.0f} | {many * 1e3:.0f} | {one / many:.1f} | **{faster:.1f}** | {whole:.1f} | {apart:.0e}"
    return f"| {name} | {cells} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--children", type=int, default=8, help="pairs of turns [default: 8]")
    asked.add_argument("--batch", type=int, default=64)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--proxies", default="synflow,naswot,az_nas,meco")
    options = asked.parse_args()
    torch.set_num_threads(1)
    batch = noise_batch(options.batch, (3, 32, 32), options.seed)
    print("| proxy | plain, ms | shared, ms | a child | times faster | whole space, min | apart |")
    print("|---|---|---|---|---|---|---|")
    for name in options.proxies.split(","):
        print(measured(name, options.children, batch, options.seed), flush=True)


if __name__ == "__main__":
    main()
