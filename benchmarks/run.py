"""Speed of the hot paths against the plain formulation, as ratios within one run.

    python benchmarks/run.py --suite search --device cpu --out results.json

Two worker processes take turns, one step each, so that a machine whose speed drifts slows both alike: `baseline` is
the naive formulation (every candidate on its own, weighted sum, dense layout, gradients of everything at every step),
`fast` is what the search stage runs. Medians over the counted steps; peak memory is that of the whole worker process on
the CPU, of the device on a GPU. Writes JSON, and the same as a Markdown table beside it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SUITES = {
    "search": [
        {"name": "nas_bench_201 C=16 N=5", "space": "nas_bench_201", "options": {"channels": 16, "cells": 5}},
        {"name": "darts C=16 L=8, eight ops", "space": "darts", "options": {"channels": 16, "layers": 8}},
    ]
}
QUICK = {
    "search": [{"name": "nas_bench_201 C=4 N=1", "space": "nas_bench_201", "options": {"channels": 4, "cells": 1}}]
}
EQUAL_STEPS = 5  # losses are compared over so many; afterwards float noise has grown


def worker(case: dict[str, Any]) -> None:
    """Take one bilevel step for each line on standard input; answer with seconds and losses as a line of JSON."""
    import torch
    import torch.nn.functional as F

    from winnow.search.mixture import Parts, train_mixture
    from winnow.search.objective import objective as objective_of
    from winnow.search.relax import Logits, softmax
    from winnow.spaces import build
    from winnow.system import heap
    from winnow.train.optimisers import sgd
    from winnow.train.seeds import generator, seeded
    from winnow.train.watch import Watch

    class Last(Watch):
        def epoch(self, epoch, metrics, weights=None):
            self.metrics = metrics

    torch.set_num_threads(case["threads"])
    device, fast = torch.device(case["device"]), case["kind"] == "fast"
    if fast:
        heap.keep()  # as a stage does
    with seeded(0):
        space = build(case["space"], case["options"]).to(device)
    layout = torch.channels_last if fast else torch.contiguous_format
    space.to(memory_format=layout)
    space.board.plain = not fast
    logits = Logits(space, generator(0, "logits")).to(device)
    draw, side = generator(0, "data"), case["side"]

    def batch():
        coarse = torch.randn(case["batch"], 3, 4, 4, generator=draw)  # images differ; of plain noise all look alike
        x = F.interpolate(coarse, size=(side, side), mode="bilinear") + 0.3 * torch.randn(
            case["batch"], 3, side, side, generator=draw
        )
        y = torch.randint(0, 10, (case["batch"],), generator=draw)
        return x.to(device).to(memory_format=layout), y.to(device)

    adam = torch.optim.Adam(logits.parameters(), 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    if fast:
        weights = sgd(space.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
        objective, watch = objective_of(space, torch.nn.CrossEntropyLoss(), case["precision"]), Last()
    else:
        weights = torch.optim.SGD(space.parameters(), 0.025, 0.9, weight_decay=3e-4)

    def fast_step(train, valid) -> tuple[float, float]:
        train_mixture(
            space,
            logits,
            [train],
            [valid],
            parts=lambda epoch: Parts(),
            objective=objective,
            weights_optimiser=weights,
            logits_optimiser=adam,
            epochs=1,
            clip=5.0,
            watch=watch,
        )
        return watch.metrics["train_loss"], watch.metrics["valid_loss"]

    def naive_step(train, valid) -> tuple[float, float]:
        space.train()
        losses = []
        for (x, y), optimiser in ((valid, adam), (train, weights)):
            adam.zero_grad()
            weights.zero_grad()
            loss = F.cross_entropy(space(x, softmax(logits)), y)
            loss.backward()
            if optimiser is weights:
                torch.nn.utils.clip_grad_norm_(space.parameters(), 5.0)
            optimiser.step()
            losses.append(loss.item())
        return losses[1], losses[0]

    for _ in sys.stdin:
        pair = batch(), batch()
        torch.get_device_module(device).synchronize()
        began = time.perf_counter()
        train_loss, valid_loss = (fast_step if fast else naive_step)(*pair)
        torch.get_device_module(device).synchronize()
        seconds = time.perf_counter() - began
        if device.type == "cpu":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        else:
            peak = torch.cuda.max_memory_allocated(device) / 2**20
        answer = {"seconds": seconds, "train_loss": train_loss, "valid_loss": valid_loss, "peak_mib": peak}
        print(json.dumps(answer), flush=True)


def compare(case: dict[str, Any], steps: int, warmup: int) -> dict[str, Any]:
    """One row: the fast step against the naive one, step by step in turns."""
    workers = {}
    for kind in ("baseline", "fast"):
        argument = json.dumps({**case, "kind": kind, "precision": case["precision"] if kind == "fast" else "fp32"})
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", argument]
        environment = dict(os.environ)
        workers[kind] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
    answers: dict[str, list[dict[str, float]]] = {kind: [] for kind in workers}
    try:
        for number in range(warmup + steps):
            for kind, process in workers.items():
                process.stdin.write("step\n")
                process.stdin.flush()
                line = process.stdout.readline()
                if not line:
                    raise SystemExit(f"{case['name']}: the {kind} worker ended with status {process.wait()}")
                answers[kind].append(json.loads(line))
            shown = {kind: f"{rows[-1]['seconds']:.3f} s" for kind, rows in answers.items()}
            print(
                f"  {case['name']} {case['precision']}, step {number + 1} of {warmup + steps}: {shown}", file=sys.stderr
            )
    finally:
        for process in workers.values():
            process.stdin.close()
            process.wait()
    pairs = list(zip(answers["baseline"], answers["fast"], strict=True))
    ratios = [a["seconds"] / b["seconds"] for a, b in pairs[warmup:]]
    compared = pairs[:EQUAL_STEPS]
    peak, baseline_peak = answers["fast"][-1]["peak_mib"], answers["baseline"][-1]["peak_mib"]
    return {
        "name": f"{case['name']}, {case['precision']}",
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "seconds": statistics.median(b["seconds"] for _, b in pairs[warmup:]),
        "baseline_seconds": statistics.median(a["seconds"] for a, _ in pairs[warmup:]),
        "peak_mib": peak,
        "baseline_peak_mib": baseline_peak,
        "memory_ratio": peak / baseline_peak,
        "loss_difference": max(abs(a[k] - b[k]) for a, b in compared for k in ("train_loss", "valid_loss")),
        "steps": steps,
        "batch": case["batch"],
        "threads": case["threads"],
        "device": case["device"],
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| step | times faster (min to max) | seconds | naive | peak MiB | naive | largest difference of losses |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['name']} | {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}) "
            f"| {row['seconds']:.3f} | {row['baseline_seconds']:.3f} | {row['peak_mib']:.0f} "
            f"| {row['baseline_peak_mib']:.0f} | {row['loss_difference']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", choices=SUITES, default="search")
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    parser.add_argument("--out", type=Path, default=Path("benchmark.json"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=32, help="pixels")
    parser.add_argument("--steps", type=int, default=5, help="counted steps")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32"])
    parser.add_argument("--quick", action="store_true", help="a tiny case that shows that it works")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(json.loads(options.worker))
        return
    common = {name: getattr(options, name) for name in ("device", "batch", "side", "threads")}
    if options.quick:
        common |= {"batch": 4, "side": 8}
    cases = (QUICK if options.quick else SUITES)[options.suite]
    rows = [
        compare({**case, **common, "precision": precision}, options.steps, options.warmup)
        for case in cases
        for precision in options.precision
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n")
    options.out.with_suffix(".md").write_text(markdown(rows))
    print(markdown(rows))
    print(f"wrote {options.out} and {options.out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
