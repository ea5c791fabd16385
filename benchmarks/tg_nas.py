"""TG-NAS' claim, measured: what it learns where operations are known holds where they are only described.

    python benchmarks/tg_nas.py TABLE

TABLE is a trials table of NAS-Bench-201: fitted to cells without one operation, it orders the cells that have it.

    python benchmarks/tg_nas.py TABLE SOURCE --metric M --source-metric S

Fitted to the architectures of another table, of any space that `spaces.graphs` draws (NAS-Bench-101 in the paper), it
orders all architectures of TABLE; params and macs beside it where TABLE has them, and random numbers. `--cells N` takes
so many of the source, 0 all of them, `--target N` so many of TABLE. Where both are one file, `--cells` of it are fitted
and the others ordered. Five seeds; intervals are 95 % of the bootstrap over the target's architectures.
"""

import argparse
import random
from pathlib import Path

import numpy as np

from winnow.core.architecture import Architecture
from winnow.measure.rank import bootstrap, kendall_tau
from winnow.predictors.tg_nas import Cells, tensors, tg_nas, transfers
from winnow.spaces.graphs import graphs
from winnow.spaces.nas_bench_201 import OPS
from winnow.trials.lookup import Table

SEEDS, RESAMPLES = 5, 200
Told = tuple[list[Cells], np.ndarray]  # graphs, and what they are worth


def told(table: Table, metric: str) -> Told:
    """All architectures with a value of `metric` at its longest fidelity, in the order of the table."""
    values = column(table, metric)
    return [graphs(Architecture(c)) for c, v in zip(table.rows, values, strict=True) if v == v], values[
        values == values
    ]


def column(table: Table, metric: str) -> np.ndarray:
    return table.column(metric, dict((table.fidelities(metric) or [()])[-1]))


def some(told: Told, count: int, seed: int = 0) -> Told:
    return those(told, sorted(drawn(len(told[0]), count, seed)))


def drawn(of: int, count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(of), min(count or of, of))


def those(told: Told, rows: list[int]) -> Told:
    return [told[0][row] for row in rows], told[1][rows]


def shown(scores: np.ndarray, values: np.ndarray) -> str:
    found = bootstrap(kendall_tau, scores, values, np.random.default_rng(0), RESAMPLES)
    return f"{found.value:6.3f} [{found.low:.3f}, {found.high:.3f}]"


def say(what: str, source: Told, target: Told) -> None:
    x, new = (tensors(cells).numpy() for cells, _ in (source, target))
    found = [tg_nas(x, source[1], seed)(new).mean for seed in range(SEEDS)]
    taus = [kendall_tau(scores, target[1]) for scores in found]
    each = " ".join(f"{tau:.3f}" for tau in taus)
    together = np.mean([(scores - scores.mean()) / (scores.std() or 1) for scores in found], 0)
    print(
        f"{what:<22} {len(x):>6} source {len(new):>6} target  tau {each}  mean of predictions "
        f"{shown(together, target[1])}  {'transfers' if transfers(taus) else 'does not transfer'}",
        flush=True,
    )


def between(path: Path, source: Path, metric: str, source_metric: str, count: int, most: int) -> None:
    table = Table.read(path)
    known, all_of_it = column(table, metric), told(table, metric)
    rows = sorted(drawn(len(all_of_it[0]), most, seed=1))
    if path == source:
        order = drawn(len(all_of_it[0]), 0, seed=0)
        given, rows = those(all_of_it, order[:count]), order[count:][: most or None]
        say("from others of it", given, those(all_of_it, rows))
    else:
        say("from the other table", some(told(Table.read(source), source_metric), count), those(all_of_it, rows))
    truth = all_of_it[1][rows]
    for size in {name for name, _ in table.columns} & {"params", "macs"}:
        print(f"{size:<22} {shown(column(table, size)[known == known][rows], truth)}")
    print(f"{'random':<22} {shown(np.random.default_rng(0).random(len(truth)), truth)}")


def without_one(path: Path, metric: str, count: int) -> None:
    """NAS-Bench-201 without one operation, and with it."""
    table = Table.read(path)
    cells, values = told(table, metric)
    for op in OPS:
        seen = np.array([op not in each["cell"].ops for each in cells])
        sides = [
            ([c for c, s in zip(cells, seen, strict=True) if s == side], values[seen == side]) for side in (True, False)
        ]
        say(f"without {op}", some(sides[0], count), sides[1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("source", type=Path, nargs="?")
    parser.add_argument("--metric", default="cifar10_valid")
    parser.add_argument("--source-metric", default="cifar10_test")
    parser.add_argument("--cells", type=int, default=0)
    parser.add_argument("--target", type=int, default=0)
    given = parser.parse_args()
    if given.source:
        between(given.table, given.source, given.metric, given.source_metric, given.cells, given.target)
    else:
        without_one(given.table, given.metric, given.cells)
