"""What Cream's teaching and ABS' scoring cost beside plain paths: python benchmarks/one_shot_steps.py

A step of `cream` with a full board over a step of `spos`; its lessons, six in an epoch of 5,000 images, are in it. And
1,000 random children, drawn and scored by angles as `abs` does, over a round of five such epochs by the step of `spos`.
Times are of the process, taken in turns, so that other processes on the machine count on neither side. The status is 1
where a bound of `MOST` is passed.
"""

import argparse
import copy
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from winnow.config.methods import strategy
from winnow.core.choosers import uniform
from winnow.core.space import Space
from winnow.proxies.sizes import sizes_of
from winnow.search.angle import Angles
from winnow.search.bench import Bench
from winnow.search.objective import objective
from winnow.search.recipe import Recipe
from winnow.spaces import build
from winnow.train.seeds import seeded
from winnow.train.watch import Watch

MOST = {"cream": 2.2, "abs": 0.1}
CASES = {
    "nas_bench_201 C=8 N=1": ("nas_bench_201", {"channels": 8, "cells": 1}),
    "mobile width 0.25": ("mobile", {"width": 0.25}),
}
BATCH, SIDE, BOARD, CLASSES = 64, 32, 10, 10
EPOCH, LESSONS = -(-5000 // BATCH), 6  # batches, and how often Cream's matching learns among them
CHILDREN, ROUND = 1000, 5 * EPOCH


@dataclass
class Same:
    """So many times the one batch."""

    batch: tuple[Tensor, Tensor]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([self.batch] * self.count)


class Clock(Watch):
    """The process's time after each step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def step(self, steps: int = 1) -> None:
        self.times.append(time.process_time())


def per_step(bench: Bench, name: str, options: dict[str, Any], steps: int) -> float:
    """Seconds a step of strategy `name`, of those after the first BOARD + 1, by when a board is full."""
    clock = Clock()
    (batch,) = bench.valid
    turn = replace(bench, train=Same(batch, BOARD + 1 + steps), watch=clock)
    strategy(name).run(turn, Recipe(epochs=1, lr=0.01), options)
    return (clock.times[-1] - clock.times[BOARD]) / steps


def scoring(space: Space, batch: tuple[Tensor, Tensor]) -> float:
    """Seconds of CHILDREN children, drawn and scored by a fresh score as after a round."""
    start, draws = copy.deepcopy(space), random.Random(0)
    began = time.process_time()
    angle, seen = Angles(space, start, lambda: batch[0][:1]), set()
    while len(seen) < CHILDREN:
        arch = space.decide(uniform(draws))
        if arch not in seen:
            seen.add(arch)
            angle(arch)
    return time.process_time() - began


def measure(name: str, options: dict[str, Any], rounds: int, steps: int) -> tuple[list[float], list[float]]:
    """Of `rounds` turns: Cream's step over a path's, and ABS' scoring over a round."""
    layout = torch.channels_last
    with seeded(0):
        space = build(name, options, classes=CLASSES, image_channels=3, image_size=SIDE).to(memory_format=layout)
        batch = torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=layout), torch.randint(CLASSES, (BATCH,))
    taught_by = {"start": 0, "judge": False, "size": BOARD, "lessons": round((BOARD + 1 + steps) / EPOCH * LESSONS)}
    learn = objective(space, nn.CrossEntropyLoss())
    sizes = sizes_of(space, (3, SIDE, SIDE))  # for all turns: what a layer costs is counted once a search
    bench = Bench(space, 0, objective=learn, valid=[batch], sizes=sizes)
    cream, scored = [], []
    for turn in range(rounds + 1):
        path = per_step(bench, "spos", {}, steps)
        taught = per_step(bench, "cream", taught_by, steps)
        if turn:  # the first fills caches
            cream.append(taught / path)
            scored.append(scoring(space, batch) / (ROUND * path))
    return cream, scored


def told(what: str, found: list[float], most: float) -> bool:
    middle = statistics.median(found)
    print(
        f"  {what}: median {middle:.4f} ({min(found):.4f} to {max(found):.4f}, n = {len(found)}), at most {most}: "
        f"{'yes' if middle <= most else 'no'}",
        flush=True,
    )
    return middle <= most


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=13, help="counted steps a turn")
    given = parser.parse_args()
    torch.set_num_threads(1)
    within = []
    for title, (name, options) in CASES.items():
        print(f"{title}, batches of {BATCH} at {SIDE} x {SIDE}", flush=True)
        cream, scored = measure(name, options, given.rounds, given.steps)
        within.append(told("a step of cream over one of spos", cream, MOST["cream"]))
        within.append(told(f"{CHILDREN:,} children of abs over a round of {ROUND} batches", scored, MOST["abs"]))
    return 0 if all(within) else 1


if __name__ == "__main__":
    sys.exit(main())
