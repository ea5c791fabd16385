"""Whole-space scoring of NAS-Bench-201 against the plain function, child by child, in turns, on one thread.

    python benchmarks/proxies.py --children 8 --out proxies.json

The plain function scores random architectures of all 15,625, as whoever knows nothing of duplicates would; shared work
scores random ones of the 5,260 networks that differ. Each pair of turns is one plain and one shared child of the same
draw. Processor time, so that other work on the machine counts little. "Times faster" is for the whole space: duplicates
are counted. "Apart" is the largest relative difference to the plain function of the same network.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.proxies import AZ_NAS, PROXIES
from winnow.proxies.common import FAN_IN, Batch
from winnow.proxies.inside import az_nas_of, images_of, meco_of
from winnow.proxies.sizes import sizes_of
from winnow.proxies.together import synflow_of
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.system import heap
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


def measured(name: str, children: int, batch: Batch, seed: int) -> dict[str, Any]:
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
    times = {"plain_ms": one * 1e3, "shared_ms": many * 1e3, "minutes": many * len(networks) / 60, "apart": apart}
    faster = one * len(every) / (many * len(networks))
    return {"name": name, "ratio": faster, "n": children, "batch": len(batch[0]), **times, "load": os.getloadavg()[0]}


def line(row: dict[str, Any]) -> str:
    alone = row["plain_ms"] / row["shared_ms"]
    cells = (
        f"{row['plain_ms']:.0f} | {row['shared_ms']:.0f} | {alone:.1f} | **{row['ratio']:.1f}** | {row['minutes']:.1f}"
    )
    return f"| {row['name']}, n = {row['n']} | {cells} | {row['apart']:.0e} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--children", type=int, default=8, help="pairs of turns [default: 8]")
    asked.add_argument("--batch", type=int, default=64)
    asked.add_argument("--seed", type=int, default=0)
    asked.add_argument("--proxies", default="synflow,naswot,az_nas,meco")
    asked.add_argument("--out", type=Path, default=Path("proxies.json"))
    options = asked.parse_args()
    heap.keep()  # as the processes of a sweep; what is plain gains by it, too
    torch.set_num_threads(1)
    batch = noise_batch(options.batch, (3, 32, 32), options.seed)
    print("| proxy | plain, ms | shared, ms | a child | times faster | whole space, min | apart |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for name in options.proxies.split(","):
        rows.append(measured(name, options.children, batch, options.seed))
        print(line(rows[-1]), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
