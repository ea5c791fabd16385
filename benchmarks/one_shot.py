"""Supernets held against the truth: how well inherited accuracies order networks whose trained accuracies are known.

    python benchmarks/one_shot.py --images CIFAR10 --macro TABLE --nas-bench-201 TABLE --out one_shot.json [METHOD ...]
    python benchmarks/one_shot.py --table one_shot.json

CIFAR10 is a folder of Parquet files (source `parquet`). The tables are Parquet, NAS-Bench-Macro's (`arch`, `mean_acc`)
and NAS-Bench-201's (`arch_str`, `cifar10_valid_200`); one that is not given is left out. A METHOD is a strategy with
options, `epochs` where they are not those of `--epochs`, and how many `members` an ensemble of the chain has (those of
macro): spos fair spos:epochs=30 abs:first=6,drop=2 neas:members=2,first=6.

A row is one supernet, trained in a process of its own by one recipe (`RECIPE`) on `--rows` training images. The same
`--networks` random networks of the space are then judged on 500 others, with its weights and BatchNorm statistics of
their own: `inherited` is their mean accuracy. `tau`: Kendall's between these and the true ones; `tau_angle`: between
the angles that their weights have turned (Hu et al. 2020) and the true ones. `found`: the true accuracy of the one
judged best; of a space that was narrowed, of as many random networks of what is left. `regret`: how far the best of the
table is above it. `passes`: networks trained a batch. A row that is in the file is not run again.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import nn

from winnow.config.methods import strategy
from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.space import Space
from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import Batches, open_split
from winnow.data.prepare import prepare_splits
from winnow.measure.compare import Estimate, difference, mean_interval
from winnow.measure.rank import kendall_tau
from winnow.proxies.sizes import later, sizes_of
from winnow.search.angle import Angles
from winnow.search.bench import Bench
from winnow.search.objective import Learning
from winnow.search.recipe import Recipe
from winnow.spaces import build
from winnow.spaces.macro import from_string as of_digits
from winnow.spaces.nas_bench_201 import from_string as of_edges
from winnow.tasks.classify import IMAGES
from winnow.train.seeds import derived, generator, seeded

BATCH, JUDGED = 64, 500
RECIPE = Recipe(lr=0.05, lr_min=0.0, weight_decay=5e-4, clip=5.0, schedule="cosine")
FREE = ("params", "macs", "random")  # what scores without a supernet
METHODS = ("spos", "fair", "sandwich")
ROW = ("space", "method", "seed")
ENOUGH = 3  # seeds, of which an interval is told


@dataclass(frozen=True)
class Ground:
    """A space whose networks have been trained: how it is built and how its table names them."""

    name: str
    options: Mapping[str, Any]
    key: str
    value: str
    of: Callable[[str], Architecture]

    def truth(self, path: Path) -> dict[Architecture, float]:
        rows = pq.read_table(path, columns=[self.key, self.value])
        return {
            self.of(text): value
            for text, value in zip(rows[self.key].to_pylist(), rows[self.value].to_pylist(), strict=True)
        }

    def build(self, members: int = 1) -> Space:
        """Of an ensemble each network of the space is a path that all of its members share."""
        if members == 1:
            return build(self.name, self.options, classes=10, image_channels=3)
        return build("ensemble", {**self.options, "backbone": self.name, "members": members}, classes=10)


GROUNDS = {
    "macro": Ground("macro", {"width": 0.25}, "arch", "mean_acc", of_digits),
    "nas_bench_201": Ground("nas_bench_201", {"channels": 8, "cells": 1}, "arch_str", "cifar10_valid_200", of_edges),
}


class Counted(Learning):
    """An objective that counts the networks that it is asked about."""

    asked = 0

    def said(self, x: Any, network: Callable[[Any], Any]) -> Any:
        Counted.asked += 1
        return super().said(x, network)


def bench_on(space: Space, folder: Path, seed: int) -> Bench:
    train, valid = (open_split(folder, name, IMAGES, stage="search") for name in ("weights", "arch"))
    augment = Images(train.facts, Augment(pad=4, flip=True))
    batches = Batches(train, BATCH, augment=augment, generator=generator(seed, "batches"), channels_last=True)
    return Bench(
        space,
        seed,
        objective=Counted(space, nn.CrossEntropyLoss()),
        train=batches,
        valid=Batches(valid, BATCH, generator=generator(seed, "valid"), channels_last=True),
        splits={"weights": train},
        judged=valid,
        calibration_images=256,
        sizes=later(lambda: sizes_of(space, (3, *train.columns["image"].shape[-2:]))),
    )


def parsed(spec: str) -> tuple[str, dict[str, Any]]:
    name, _, rest = spec.partition(":")
    pairs = (pair.partition("=") for pair in rest.split(",") if pair)
    return name, {key: _value(text) for key, _, text in pairs}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def trained(spec: str, ground: Ground, folder: Path, seed: int, epochs: int) -> tuple[Space, Space, Bench, Any]:
    """The space as the strategy left it and as it began, a bench to judge its children by, and what it took."""
    name, options = parsed(spec)
    recipe, members = replace(RECIPE, epochs=options.pop("epochs", epochs)), options.pop("members", 1)
    with seeded(derived(seed, "initialise")):
        space = ground.build(members).to(memory_format=torch.channels_last)
    bench, start = bench_on(space, folder, seed), deepcopy(space)
    began, cpu = time.monotonic(), time.process_time()
    quiet = {"judge": False} if "judge" in strategy(name).options() else {}
    with seeded(seed):
        found = strategy(name).run(replace(bench, judged=None) if quiet else bench, recipe, {**quiet, **options})
    took = {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - cpu, "epochs": recipe.epochs}
    took |= {"child_steps": Counted.asked, "passes": Counted.asked / (recipe.epochs * len(bench.train))}
    return found.space, start, replace(bench, space=found.space.within({})), took


def path_of(arch: Architecture, space: Space) -> Architecture:
    """A network of the ground as an answer to `space`, which may be an ensemble: one that shares all layers."""
    if "split" not in space.whole:
        return arch
    shared = {f"layer{int(name.removeprefix('block/')) + 1}/shared": option for name, option in arch.items()}
    return Architecture.of({"split": max(space.whole["split"].options), **shared})


def left_of(space: Space, ground: Ground) -> Space:
    """The view of the ground that a strategy left."""
    if "split" not in space.whole:
        return space
    shared = {name: d.options for name, d in space.decisions.items() if name.endswith("/shared")}
    return ground.build().within({f"block/{int(n[5:-7]) - 1}": options for n, options in shared.items()})


def drawn(space: Space, count: int) -> list[Architecture]:
    return distinct(space, random.Random(0), count)


def row_of(
    spec: str, ground: Ground, table: Path, folder: Path, seed: int, asked: argparse.Namespace
) -> dict[str, Any]:
    truth = ground.truth(table)
    sample = drawn(ground.build(), asked.networks)
    true, best = [truth[arch] for arch in sample], max(truth.values())
    if spec in FREE:
        draws = random.Random(seed)
        sizes = sizes_of(ground.build(), (3, asked.side, asked.side))
        scores = [draws.random() if spec == "random" else sizes(arch)[spec] for arch in sample]
        tops, took = list(zip(scores, sample, strict=True)), {}
        found = {"tau": kendall_tau(scores, true)}
    else:
        space, start, bench, took = trained(spec, ground, folder, seed, asked.epochs)
        angle = Angles(space, start, lambda: next(iter(bench.valid))[0][:1])
        angles = [angle(path_of(arch, space)) for arch in sample]
        scores = [bench.score(path_of(arch, space)) for arch in sample]
        found = {"tau": kendall_tau(scores, true), "tau_angle": kendall_tau(angles, true), "left": space.count()}
        found["inherited"] = statistics.fmean(scores)
        tops = list(zip(scores, sample, strict=True))
        if space.decisions != dict(space.whole):
            tops = [(bench.score(path_of(a, space)), a) for a in drawn(left_of(space, ground), asked.networks)]
    _, winner = max(tops, key=lambda pair: pair[0])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found |= {"found": truth[winner], "regret": best - truth[winner], "mib": memory, "networks": len(sample)}
    return {"space": ground.name, "method": spec, "seed": seed, **found, **took}


def prepared(images: Path, rows: int, side: int, folder: Path) -> None:
    """Splits of `rows` images to train on and some to judge by."""
    share = rows / (rows + 2 * JUDGED)
    fractions = {"weights": share, "arch": (1 - share) / 2, "select": (1 - share) / 2}
    prepare_splits(
        folder,
        IMAGES,
        source="parquet",
        path=images,
        image_size=side,
        seed=0,
        fractions=fractions,
        test_fraction=0.1,
        limit_train=rows + 2 * JUDGED,
        limit_test=100,
    )


def run(arguments: argparse.Namespace) -> None:
    rows = json.loads(arguments.out.read_text()) if arguments.out.is_file() else []
    done = {tuple(row[name] for name in ROW) for row in rows}
    tables = {"macro": arguments.macro, "nas_bench_201": arguments.nas_bench_201}
    wanted = [
        (space, method, seed)
        for seed in range(arguments.seeds)
        for space, table in tables.items()
        for method in (*FREE, *(arguments.methods or METHODS))
        if table and (space, method, seed) not in done and (seed == 0 or method not in ("params", "macs"))
    ]
    with tempfile.TemporaryDirectory() as scratch:
        prepared(arguments.images, arguments.rows, arguments.side, Path(scratch) / "splits")
        for space, method, seed in wanted:
            passing = Path(scratch) / "row.json"
            own = ["--one", json.dumps([space, method, seed, str(tables[space]), scratch]), "--out", str(passing)]
            sizes = ["--epochs", str(arguments.epochs), "--networks", str(arguments.networks)]
            sizes += ["--side", str(arguments.side)]
            subprocess.run([sys.executable, __file__, *own, *sizes], check=True)
            rows.append(json.loads(passing.read_text()) | {"rows": arguments.rows, "side": arguments.side})
            arguments.out.write_text(json.dumps(rows, indent=1))
            print({k: round(v, 3) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)


def one(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(1)
    space, method, seed, table, scratch = json.loads(arguments.one)
    found = row_of(method, GROUNDS[space], Path(table), Path(scratch) / "splits", seed, arguments)
    arguments.out.write_text(json.dumps(found))


def table(rows: list[dict[str, Any]]) -> str:
    """A line a method, means over seeds; after ± stands half of Student's 95 % interval (three seeds or more)."""
    lines = []
    for space in dict.fromkeys(row["space"] for row in rows):
        here = [row for row in rows if row["space"] == space]
        plain = [row for row in here if row["method"] == "spos"]
        lines += [f"\n**{space}**, {here[0]['networks']} networks\n", "| " + " | ".join(HEAD + COST) + " |"]
        lines.append("|---" * len(HEAD + COST) + "|")
        for method in dict.fromkeys(row["method"] for row in here):
            lines.append("| " + " | ".join(_cells(method, [r for r in here if r["method"] == method], plain)) + " |")
    return "\n".join(lines)


HEAD = (
    "method",
    "epochs",
    "passes",
    "inherited %",
    "tau",
    "above spos",
    "tau of angles",
    "found %",
    "above spos",
    "regret",
)
COST = ("s", "MiB", "n")


def _cells(method: str, own: list[dict[str, Any]], plain: list[dict[str, Any]]) -> list[str]:
    def of(name: str, rows: list[dict[str, Any]] = own) -> list[float]:
        return [row[name] for row in rows if row.get(name) is not None]

    def mean(name: str, digits: int) -> str:
        return _told(mean_interval(of(name)), len(of(name)), digits) if of(name) else ""

    def above(name: str, digits: int) -> str:
        if method == "spos" or not of(name) or not of(name, plain):
            return ""
        gap = difference(of(name), of(name, plain))
        few = min(len(of(name)), len(of(name, plain)))
        word = "cannot tell" if few < ENOUGH or gap.low <= 0 <= gap.high else "yes" if gap.low > 0 else "no"
        return f"{_told(gap, few, digits, '+')}: {word}"

    whole = [f"{statistics.fmean(of(n)):.{d}f}" if of(n) else "" for n, d in (("epochs", 0), ("passes", 1))]
    cost = [f"{statistics.fmean(of(n)):.0f}" if of(n) else "" for n in ("cpu_seconds", "mib")]
    ranks = [mean("inherited", 1), mean("tau", 3), above("tau", 3), mean("tau_angle", 3)]
    return [f"`{method}`", *whole, *ranks, mean("found", 2), above("found", 2), mean("regret", 2), *cost, str(len(own))]


def _told(found: Estimate, seeds: int, digits: int, sign: str = "") -> str:
    half = (found.high - found.low) / 2
    return f"{found.mean:{sign}.{digits}f}" + (f" ± {half:.{digits}f}" if seeds >= ENOUGH else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help=f"strategies [default: {' '.join(METHODS)}]")
    parser.add_argument("--table", type=Path, help="print the rows of this file as a table, and run nothing")
    parser.add_argument("--out", type=Path, help="the rows, as JSON; those that are there are kept")
    parser.add_argument("--images", type=Path, help="folder of Parquet files of CIFAR-10")
    parser.add_argument("--macro", type=Path, help="table of NAS-Bench-Macro")
    parser.add_argument("--nas-bench-201", type=Path, help="table of NAS-Bench-201")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rows", type=int, default=5000, help="images to train on")
    parser.add_argument("--side", type=int, default=32, help="pixels; images are made smaller")
    parser.add_argument("--networks", type=int, default=100)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.table.read_text())))
    elif arguments.one:
        one(arguments)
    elif not arguments.out or not arguments.images:
        parser.error("--out and --images say where rows go and what is trained on")
    else:
        run(arguments)


if __name__ == "__main__":
    main()
