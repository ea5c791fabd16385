"""The perturbation sweep against the naive one, as ratios within one run, and where its time goes.

    python benchmarks/sweep.py --device cpu --out sweep.json [--profile]

For each of `--events` decisions in turn, all its options are masked: by the naive sweep (the images loaded and
normalised anew for every mask, every candidate computed on its own, dense layout) and by what the select stage runs
(batches prepared once, masked candidates left out, mixtures computed together). Seconds are of the processor on the
CPU, since other work on the machine would stretch those of the clock, and of the clock on a GPU.
"""

import argparse
import copy
import json
import random
import statistics
import sys
import time
from pathlib import Path

import torch

from winnow.search.relax import Logits, softmax
from winnow.search.selections.perturbation import Mask, most_missed
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.train.evaluate import batch_statistics, measured
from winnow.train.seeds import seeded

CASES = {
    "nas_bench_201 C=16 N=1": ("nas_bench_201", {"channels": 16, "cells": 1}),
    "nas_bench_201 C=16 N=5": ("nas_bench_201", {"channels": 16, "cells": 5}),
    "darts C=16 L=8, seven ops": ("darts", {"channels": 16, "layers": 8, "none": False}),
}


class Sweep:
    """Both ways to judge a mask, on the same images (uint8) and the same supernet."""

    def __init__(self, case: str, options: argparse.Namespace):
        name, size = CASES[case]
        with seeded(0):
            self.naive = build(name, size, classes=10, image_channels=3, image_size=options.side).to(options.device)
        self.naive.eval().board.plain = True
        self.space = copy.deepcopy(self.naive).to(memory_format=torch.channels_last)
        self.space.board.plain = False
        draws = torch.Generator().manual_seed(0)
        shape = (options.images, 3, options.side, options.side)
        coarse = torch.nn.functional.interpolate(torch.rand(*shape[:2], 4, 4, generator=draws), shape[2:])
        self.images = (255 * (0.8 * coarse + 0.2 * torch.rand(shape, generator=draws))).to(torch.uint8)
        self.labels = torch.randint(0, 10, (options.images,), generator=draws).to(options.device)
        self.batch, self.device = options.batch, torch.device(options.device)
        logits = Logits(self.space, draws, 0.5).to(self.device)
        self.weights = {name: vector.detach() for name, vector in softmax(logits).items()}
        self.prepared = list(self.loaded(torch.channels_last))

    def loaded(self, layout: torch.memory_format = torch.contiguous_format):
        for x, y in zip(self.images.split(self.batch), self.labels.split(self.batch), strict=True):
            yield ((x.to(self.device).float() / 255 - 0.5) / 0.25).contiguous(memory_format=layout), y

    def event(self, decision: str, naive: bool) -> tuple[float, list[Mask]]:
        """Seconds and evidence of one decision."""
        space = self.naive if naive else self.space
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter

        def evaluate(setting):
            with batch_statistics(space):
                found = measured(IMAGES, lambda x: space(x, setting), self.loaded() if naive else self.prepared)
            return found["accuracy"], found["loss"]

        torch.get_device_module(self.device).synchronize()
        began = clock()
        _, rows = most_missed(space.decisions[decision], self.weights, evaluate)
        torch.get_device_module(self.device).synchronize()
        return clock() - began, rows


def compare(case: str, options: argparse.Namespace) -> dict:
    sweep = Sweep(case, options)
    names = [d.name for d in sweep.space.decisions.values() if d.pick == 1]
    random.Random(0).shuffle(names)
    seconds: dict[str, list[float]] = {"naive": [], "fast": []}
    differences, equal = [], True
    for number, name in enumerate([names[0], *names[: options.events]]):  # the first time is not counted
        (slow, expected), (fast, found) = sweep.event(name, naive=True), sweep.event(name, naive=False)
        if number:
            seconds["naive"].append(slow)
            seconds["fast"].append(fast)
        differences += [abs(a.loss - b.loss) for a, b in zip(expected, found, strict=True)]
        equal &= [row.kept for row in expected] == [row.kept for row in found]
        print(f"  {case}: {name}, naive {slow:.2f} s, fast {fast:.2f} s", file=sys.stderr)
    ratios = [a / b for a, b in zip(seconds["naive"], seconds["fast"], strict=True)]
    return {
        "name": case,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "n": len(ratios),
        "seconds": statistics.median(seconds["fast"]),
        "naive_seconds": statistics.median(seconds["naive"]),
        "same_decisions": equal,
        "loss_difference": max(differences),
        "images": options.images,
        "device": options.device,
        "threads": torch.get_num_threads(),
    }


def profile(case: str, options: argparse.Namespace) -> str:
    """A table of the operators that the fast sweep spends its time in."""
    sweep = Sweep(case, options)
    name = next(d.name for d in sweep.space.decisions.values() if d.pick == 1)
    sweep.event(name, naive=False)
    kinds = [torch.profiler.ProfilerActivity.CPU]
    kinds += [torch.profiler.ProfilerActivity.CUDA] if options.device != "cpu" else []
    with torch.profiler.profile(activities=kinds) as found:
        sweep.event(name, naive=False)
    key = "self_cpu_time_total" if options.device == "cpu" else "self_cuda_time_total"
    return found.key_averages().table(sort_by=key, row_limit=12, max_name_column_width=45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    parser.add_argument("--case", choices=CASES, nargs="+", default=list(CASES))
    parser.add_argument("--events", type=int, default=3, help="decisions compared")
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="show where the time of the fast sweep goes")
    parser.add_argument("--out", type=Path, default=Path("sweep.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.profile:
        for case in options.case:
            print(f"{case}\n{profile(case, options)}")
        return
    rows = [compare(case, options) for case in options.case]
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    for row in rows:
        print(
            f"{row['name']}: {row['ratio']:.2f} times faster ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}, "
            f"n = {row['n']}), {row['seconds']:.2f} s against {row['naive_seconds']:.2f} s a decision, same decisions "
            f"{row['same_decisions']}, losses within {row['loss_difference']:.0e}"
        )


if __name__ == "__main__":
    main()
