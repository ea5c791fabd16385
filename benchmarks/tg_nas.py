"""TG-NAS' claim, measured: fitted to cells without one operation, it orders the cells that have it.

python benchmarks/tg_nas.py TABLE, a trials table of NAS-Bench-201; some minutes a held-out operation.
"""

import sys
from pathlib import Path

import numpy as np

from winnow.core.architecture import Architecture
from winnow.measure.rank import kendall_tau
from winnow.predictors.tg_nas import tg_nas, transfers
from winnow.spaces.graphs import graphs
from winnow.spaces.nas_bench_201 import OPS
from winnow.trials.lookup import Table

METRIC, AT, SEEDS = "cifar10_valid", {"epochs": 200.0}, 5


def main(path: Path) -> None:
    table = Table.read(path)
    archs, values = [Architecture(choices) for choices in table.rows], table.column(METRIC, AT)
    cells = [graphs(arch) for arch in archs]
    for op in OPS:
        seen = np.array([op not in arch.values() for arch in archs])
        source, target = ([cell for cell, s in zip(cells, seen, strict=True) if s == side] for side in (True, False))
        found = [tg_nas(source, values[seen], seed)(target) for seed in range(SEEDS)]
        taus = [kendall_tau(scores, values[~seen]) for scores in found]
        together = kendall_tau(np.mean(found, 0), values[~seen])
        each = " ".join(f"{tau:.3f}" for tau in taus)
        print(
            f"without {op:<14} {seen.sum():>6} source {(~seen).sum():>6} target  tau {each}  mean of "
            f"predictions {together:.3f}  {'transfers' if transfers(taus) else 'does not transfer'}",
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
