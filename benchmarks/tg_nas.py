"""TG-NAS' claim, measured: fitted to cells without one operation, it orders the cells that have it.

python benchmarks/tg_nas.py TABLE, a trials table of NAS-Bench-201; some minutes a held-out operation.

python benchmarks/tg_nas.py TABLE SOURCE: fitted to the cells of another table, NAS-Bench-101 in the paper, it orders
all cells of TABLE. `--cells N` takes so many of SOURCE.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from winnow.core.architecture import Architecture
from winnow.measure.rank import kendall_tau
from winnow.predictors.tg_nas import Cells, tg_nas, transfers
from winnow.spaces.graphs import graphs
from winnow.spaces.nas_bench_201 import OPS
from winnow.trials.lookup import Table

METRIC, AT, SEEDS = "cifar10_valid", {"epochs": 200.0}, 5
OF_SOURCE = "cifar10_test", {"epochs": 108.0}  # as published
Told = tuple[list[Cells], np.ndarray]  # cells, and what they are worth


def between(source: Path, path: Path, count: int | None) -> None:
    """From one table to another."""
    table = Table.read(source)
    archs, values = [Architecture(choices) for choices in table.rows], table.column(*OF_SOURCE)
    rows = sorted(random.Random(0).sample(range(len(archs)), min(count or len(archs), len(archs))))
    given = [graphs(archs[row]) for row in rows], values[rows]
    target = Table.read(path)
    say("from the other table", given, ([graphs(Architecture(c)) for c in target.rows], target.column(METRIC, AT)))


def say(what: str, source: Told, target: Told) -> None:
    found = [tg_nas(*source, seed)(target[0]) for seed in range(SEEDS)]
    taus = [kendall_tau(scores, target[1]) for scores in found]
    together = kendall_tau(np.mean(found, 0), target[1])
    each = " ".join(f"{tau:.3f}" for tau in taus)
    print(
        f"{what:<22} {len(source[0]):>6} source {len(target[0]):>6} target  tau {each}  mean of predictions "
        f"{together:.3f}  {'transfers' if transfers(taus) else 'does not transfer'}",
        flush=True,
    )


def main(path: Path) -> None:
    table = Table.read(path)
    archs, values = [Architecture(choices) for choices in table.rows], table.column(METRIC, AT)
    cells = [graphs(arch) for arch in archs]
    for op in OPS:
        seen = np.array([op not in arch.values() for arch in archs])
        sides = [
            ([c for c, s in zip(cells, seen, strict=True) if s == side], values[seen == side]) for side in (True, False)
        ]
        say(f"without {op}", *sides)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--cells", type=int)
    given = parser.parse_args()
    between(given.source, given.table, given.cells) if given.source else main(given.table)
