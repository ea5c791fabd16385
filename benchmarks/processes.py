"""Two processes that train one network against one, a core and a thread each, as ratios within one run.

    python benchmarks/processes.py --epochs 5 --out benchmarks/results/processes.json

One process, and two that share every batch (`winnow.train.ranks`), take turns of a whole epoch each: while one
trains, the others wait. `ratio` is the seconds of the one over those of the two, by pairs of epochs, of which the first
is not counted. `load` is the machine's load average at the end; the target of 1.7 is for one that nobody else uses.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import Batches, Split
from winnow.search import recipe as supernets
from winnow.search.bench import Bench
from winnow.search.methods.darts import darts
from winnow.search.objective import objective
from winnow.spaces import build
from winnow.system.machine import usable_cores
from winnow.tasks.classify import IMAGES
from winnow.train import ranks
from winnow.train.fit import fit
from winnow.train.recipes import RECIPES, Recipe
from winnow.train.seeds import generator, materialise, seeded
from winnow.train.watch import Watch

SPACE = ("nas_bench_201", {"channels": 16, "cells": 1})
BATCH, SIDE, ROWS, QUICK_ROWS = 64, 16, 512, 64
KINDS = {"one": 1, "two": 2}


class Turns(Watch):
    """Ends each epoch with a line, and begins the next when it is told to."""

    def epoch(self, *given: Any) -> None:
        print("epoch", flush=True)
        wait()


def wait() -> None:
    if not sys.stdin.readline():
        os._exit(0)  # all epochs are counted


def batches(name: str, rows: int) -> Batches:
    draws = generator(0, "images")
    pixels = torch.randint(256, (rows, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8)
    facts = {"shape": [3, SIDE, SIDE], "mean": [0.5] * 3, "std": [0.25] * 3}
    columns = {"image": pixels, "label": torch.randint(10, (rows,), generator=draws)}
    split = Split(name, columns, "label", Images(facts), facts, "random")
    augment = Images(facts, Augment(1, True))
    return Batches(split, BATCH, generator=generator(1, name), augment=augment, channels_last=True, part=ranks.part())


def search(rows: int, watch: Watch) -> None:
    with seeded(0):
        space = build(*SPACE, classes=10, image_channels=3).to(memory_format=torch.channels_last)
        bench = Bench(
            space,
            0,
            objective=objective(space, nn.CrossEntropyLoss()),
            train=batches("weights", rows),
            valid=batches("arch", rows),
            watch=watch,
        )
        darts(bench, supernets.Recipe(epochs=10_000))


def retrain(rows: int, watch: Watch) -> None:
    with torch.device("meta"):
        space = build(*SPACE, classes=10, image_channels=3, final=True)
        child = space.derive(space.decide(lambda d: "nor_conv_3x3"))
    model = materialise(child, "cpu", 0).to(memory_format=torch.channels_last)
    recipe = Recipe(**{**RECIPES["quick"].__dict__, "epochs": 10_000})
    fit(model, batches("train", rows), recipe, IMAGES, seed=0, watch=watch)


CASES: dict[str, Callable[[int, Watch], None]] = {"search": search, "retrain": retrain}


def worker(case: str, meeting: Path, which: int, count: int, rows: int) -> None:
    torch.set_num_threads(1)
    print("ready", flush=True)
    wait()
    if count == 1:
        CASES[case](rows, Turns())
        return
    with ranks.joined(ranks.in_folder(meeting, count), which, count, torch.device("cpu")):
        CASES[case](rows, Turns())


class Team:
    """Processes that train together, an epoch a turn."""

    def __init__(self, case: str, count: int, folder: Path, rows: int):
        here = [sys.executable, str(Path(__file__).resolve()), "--worker", case, str(folder)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
        self.all = [subprocess.Popen([*here, str(i), str(count), str(rows)], **pipes) for i in range(count)]
        self.answers()

    def answers(self) -> None:
        for each in self.all:
            if not each.stdout.readline():
                raise SystemExit(f"a worker ended with status {each.wait()}")

    def turn(self) -> float:
        """Seconds of an epoch."""
        began = time.perf_counter()
        for each in self.all:
            each.stdin.write("go\n")
            each.stdin.flush()
        self.answers()
        return time.perf_counter() - began

    def end(self) -> None:
        for each in self.all:
            each.kill()
            each.communicate()


def compare(case: str, epochs: int, rows: int) -> dict[str, Any]:
    """One row: the epochs of one process and of two, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        teams = {kind: Team(case, count, Path(folder), rows) for kind, count in KINDS.items()}
        try:
            times = [{kind: team.turn() for kind, team in teams.items()} for _ in range(epochs + 1)][1:]
        finally:
            for team in teams.values():
                team.end()
    ratios = [each["one"] / each["two"] for each in times]
    return {
        "name": f"{case}, {SPACE[0]} C=16 N=1, batch {BATCH}",
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "seconds": statistics.median(each["two"] for each in times),
        "baseline_seconds": statistics.median(each["one"] for each in times),
        "n": epochs,
        "cores": usable_cores(),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5, help="counted epochs of each")
    parser.add_argument("--out", type=Path, default=Path("processes.json"))
    parser.add_argument("--quick", action="store_true", help="few images, to show that it works")
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        case, meeting, which, count, rows = asked.worker
        worker(case, Path(meeting), int(which), int(count), int(rows))
        return
    if usable_cores() < 2:
        raise SystemExit("two processes of a core each take two cores")
    rows = [compare(case, asked.epochs, QUICK_ROWS if asked.quick else ROWS) for case in CASES]
    for row in rows:
        told = f"{row['ratio']:.2f} times ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}), n = {row['n']}"
        print(f"{row['name']}: {told}; load {row['load']:.1f} on {row['cores']} cores")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
