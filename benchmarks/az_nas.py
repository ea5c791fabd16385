"""AZ-NAS as its published number was made: fresh weights for each cell of NAS-Bench-201, 64 images of noise.

    python benchmarks/az_nas.py TABLE --cells 0 --out az_nas.jsonl

A row a cell, in a random order drawn beforehand (0: all 15,625, hours; so many otherwise), written as it is known: the
same command goes on after a kill. It prints the rank correlations of what is there with the metric of TABLE, with the
interval of the bootstrap over cells. Run it niced beside other work; one thread.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.measure.rank import bootstrap, kendall_tau, spearman
from winnow.proxies.aggregate import AGGREGATES, log_rank, oriented_ranks
from winnow.proxies.az_nas import block_features, drawn, entropies, least_gain, mean_trainability, rademacher
from winnow.proxies.sizes import sizes_of
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.system import heap
from winnow.train.seeds import derived, generator, seeded
from winnow.trials.lookup import Table

PARTS = AGGREGATES["az_nas"]


def scored(order: list[Architecture], path: Path, batch: int) -> list[dict]:
    with seeded(0):
        space = nas_bench_201(final=True)
    sizes = sizes_of(space, (3, 32, 32))
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    began = time.monotonic()
    with path.open("a") as file:
        for number, arch in enumerate(order[len(rows) :], len(rows)):
            own = generator(derived(0, "az_nas", number), "weights")
            rows.append({"architecture": arch.to_json(), **three(space.derive(arch), batch, own), **sizes(arch)})
            file.write(json.dumps(rows[-1]) + "\n")
            file.flush()
            if number % 50 == 49:
                print(f"  {number + 1:,} of {len(order):,}, {time.monotonic() - began:.0f} s", flush=True)
    return rows[: len(order)]


def three(model: nn.Module, batch: int, own: torch.Generator) -> dict[str, float]:
    """The scores that look at features, by one pass of noise through new weights."""
    drawn(model.requires_grad_(False), own)
    features = block_features(model, torch.randn(batch, 3, 32, 32, generator=own).requires_grad_())
    told = entropies(features)
    return {
        "expressivity": float(sum(told)),
        "progressivity": float(least_gain(told)),
        "trainability": float(mean_trainability(features, rademacher(features, own))),
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("table", type=Path, help="as `winnow table import nas_bench_201` writes it")
    asked.add_argument("--metric", default="cifar10_valid")
    asked.add_argument("--cells", type=int, default=0)
    asked.add_argument("--batch", type=int, default=64)
    asked.add_argument("--out", type=Path, required=True)
    options = asked.parse_args()
    heap.keep()
    torch.set_num_threads(1)
    table = Table.read(options.table)
    values = table.column(options.metric, dict((table.fidelities(options.metric) or [()])[-1]))
    truth = {Architecture(c): float(v) for c, v in zip(table.rows, values, strict=True) if v == v}
    order = sorted(truth, key=Architecture.to_json)
    random.Random(0).shuffle(order)
    rows = scored(order[: options.cells or None], options.out, options.batch)
    target = np.array([truth[Architecture.from_json(row["architecture"])] for row in rows])
    columns = {name: np.array([row[name] for row in rows]) for name in (*PARTS, "params")}
    scores = {"az_nas": log_rank({name: columns[name] for name in PARTS}, dict.fromkeys(PARTS, 1)).score}
    scores |= {name: oriented_ranks(column) for name, column in columns.items()}
    print(f"{options.metric}, {len(rows):,} cells, {options.batch} images, fresh weights for each")
    print("| score | Kendall [95 %] | Spearman [95 %] |\n|---|---|---|")
    for name, score in scores.items():
        cells = [
            bootstrap(measure, score, target, np.random.default_rng(0), 200) for measure in (kendall_tau, spearman)
        ]
        print(f"| {name} | {' | '.join(f'{c.value:.3f} [{c.low:.3f}, {c.high:.3f}]' for c in cells)} |")


if __name__ == "__main__":
    main()
