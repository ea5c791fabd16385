"""What checkpoints cost: the share of a training's time that goes into them, measured within one run.

    python benchmarks/checkpoints.py --seconds 65 --out benchmarks/results/checkpoints.json

Each case trains for so many seconds with the keeper of the stages, at the default cadence, into a temporary folder,
with everything that a stage keeps: weights, momentum, averaged weights, generators, batches, curves. Time in
`Keeper.due` is divided by the time of the loop, disk included; and likewise CPU time, where others use the machine.
"""

import argparse
import contextlib
import functools
import json
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from winnow.config.params import Runtime
from winnow.data.inputs.images import Augment, Images
from winnow.data.loaders import Batches, Split
from winnow.run.checkpoint import generations, save
from winnow.search import recipe as supernets
from winnow.search.bench import Bench
from winnow.search.methods.darts import darts
from winnow.search.objective import objective
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.train.checkpoint import Keeper
from winnow.train.fit import fit
from winnow.train.recipes import RECIPES, Recipe
from winnow.train.seeds import generator, materialise, seeded
from winnow.train.watch import Watch

CADENCE = Runtime().checkpoint_seconds


class Timed(Keeper):
    """Ends the run when its time is over, and knows how much of it went into checkpoints."""

    def __init__(self, folder: Path, seconds: float):
        super().__init__(functools.partial(save, folder), seconds=CADENCE)
        self.until, self.inside, self.saves, self.steps = time.perf_counter() + seconds, 0.0, [], 0
        self.busy, self.began, self.began_busy = 0.0, time.perf_counter(), time.process_time()

    def due(self) -> None:
        began, busy, last = time.perf_counter(), time.process_time(), self.last
        super().due()
        self.inside += time.perf_counter() - began
        self.busy += time.process_time() - busy
        self.steps += 1
        if self.last != last:
            self.saves.append(self.cost)
        if time.perf_counter() > self.until:
            raise TimeoutError


def images(side: int, count: int = 2048) -> Split:
    draws = generator(0, "images")
    pixels = torch.randint(256, (count, 3, side, side), generator=draws, dtype=torch.uint8)
    labels: Tensor = torch.randint(10, (count,), generator=draws)
    facts = {"shape": [3, side, side], "mean": [0.5] * 3, "std": [0.25] * 3}
    return Split("weights", {"image": pixels, "label": labels}, "label", Images(facts), facts, "random")


def batches(side: int, batch: int, name: str) -> Batches:
    split = images(side)
    augment = Images(split.facts, Augment(1, True))
    return Batches(split, batch, generator=generator(1, name), augment=augment, channels_last=True)


def supernet(name: str, options: dict, keeper: Keeper) -> None:
    with seeded(0):
        space = build(name, options, classes=10, image_channels=3).to(memory_format=torch.channels_last)
    with seeded(0):
        loss = objective(space, nn.CrossEntropyLoss())
        train, valid = batches(16, 32, "weights"), batches(16, 32, "arch")
        bench = Bench(space, 0, objective=loss, train=train, valid=valid, keeper=keeper)
        darts(bench, supernets.Recipe(epochs=1000))


def retraining(name: str, options: dict, keeper: Keeper) -> None:
    with torch.device("meta"):
        space = build(name, options, classes=10, image_channels=3, final=True)
        child = space.derive(space.decide(lambda d: d.values[-1]))
    model = materialise(child, "cpu", 0).to(memory_format=torch.channels_last)
    recipe = Recipe(**{**RECIPES["quick"].__dict__, "ema": 0.99, "epochs": 1000})
    fit(model, batches(16, 32, "train"), recipe, IMAGES, seed=0, watch=Watch(), keeper=keeper)


CASES = {
    "search nas_bench_201 C=16 N=5": (supernet, "nas_bench_201", {"channels": 16, "cells": 5}),
    "search darts C=16 L=8": (supernet, "darts", {"channels": 16, "layers": 8}),
    "retrain darts C=36 L=20, averaged": (retraining, "darts", {"channels": 36, "layers": 20}),
}


def measured(case: str, seconds: float) -> dict[str, float]:
    train, name, options = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        keeper = Timed(Path(folder), seconds)
        with contextlib.suppress(TimeoutError):
            train(name, options, keeper)
        whole, busy = time.perf_counter() - keeper.began, time.process_time() - keeper.began_busy
        size = max((path.stat().st_size for path in generations(Path(folder))), default=0)
    return {
        "seconds": whole,
        "steps": keeper.steps,
        "checkpoints": len(keeper.saves),
        "mib": size / 2**20,
        "seconds_each": sum(keeper.saves) / max(len(keeper.saves), 1),
        "share_percent": 100 * keeper.inside / whole,
        "cpu_share_percent": 100 * keeper.busy / busy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=65.0, help="a case; more than the cadence, or nothing is kept")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    found = {}
    print(f"cadence {CADENCE:g} s")
    print(f"{'':<36}{'steps':>7}{'kept':>6}{'MiB':>8}{'s each':>8}{'share %':>9}{'CPU %':>7}")
    for case in CASES:
        row = found[case] = measured(case, asked.seconds)
        numbers = f"{row['steps']:>7}{row['checkpoints']:>6}{row['mib']:>8.1f}{row['seconds_each']:>8.2f}"
        print(f"{case:<36}{numbers}{row['share_percent']:>9.2f}{row['cpu_share_percent']:>7.2f}", flush=True)
    if asked.out:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps({"cadence": CADENCE, "cases": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
