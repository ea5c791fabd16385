"""A search step that keeps the memory it frees (`winnow.system.heap`) against one as glibc does by itself.

    python benchmarks/heap.py --steps 8 --out heap.json

Two processes take turns, step by step, on equal batches. Seconds are of the processor, the system's apart; the largest
resident set is of the whole process, and losses are compared bit by bit.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

CASES = {
    "nas_bench_201 C=8 N=1, 16 x 16": ("nas_bench_201", {"channels": 8, "cells": 1}, 16),
    "nas_bench_201 C=16 N=1, 32 x 32": ("nas_bench_201", {"channels": 16, "cells": 1}, 32),
}
BATCH = 64


def worker(case: str, kept: bool) -> None:
    """Take a bilevel step for each line on standard input; answer with what it took as a line of JSON."""
    import torch

    from benchmarks.memory import Search
    from winnow.system import heap

    if kept and not heap.keep():
        raise SystemExit("nothing to compare: this is not glibc, or a variable chose how malloc works")
    torch.set_num_threads(1)
    space, options, side = CASES[case]
    search, draws = Search(space, **options), torch.Generator().manual_seed(0)

    def batch():
        x = torch.randn(BATCH, 3, side, side, generator=draws).contiguous(memory_format=torch.channels_last)
        return x, torch.randint(10, (BATCH,), generator=draws)

    for _ in sys.stdin:
        pair, before = (batch(), batch()), resource.getrusage(resource.RUSAGE_SELF)
        loss = search.step(*pair)
        after = resource.getrusage(resource.RUSAGE_SELF)
        user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
        told = {"all": user + system, "system": system, "faults": after.ru_minflt - before.ru_minflt}
        print(json.dumps({**told, "mib": after.ru_maxrss / 1024, "loss": loss.hex()}), flush=True)


def compare(case: str, steps: int) -> dict[str, Any]:
    """One row; the first two steps of each are not counted: they take what later ones take again."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, __file__, "--worker", case]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    workers = [subprocess.Popen([*command, *more], **pipes) for more in ((), ("--kept",))]
    answers: list[list[dict[str, Any]]] = [[], []]
    for _ in range(steps + 2):
        for process, rows in zip(workers, answers, strict=True):
            process.stdin.write("step\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"{case}: a worker ended with status {process.wait()}")
            rows.append(json.loads(line))
    for process in workers:
        process.communicate()
    plain, kept = (rows[2:] for rows in answers)
    ratios = [a["all"] / b["all"] for a, b in zip(plain, kept, strict=True)]
    row: dict[str, Any] = {"name": case, "ratio": statistics.median(ratios), "ratios": ratios, "n": steps}
    for name, rows in (("plain", plain), ("kept", kept)):
        row |= {f"{name}_{key}": statistics.median(each[key] for each in rows) for key in ("all", "system", "faults")}
        row[f"{name}_mib"] = rows[-1]["mib"]
    equal = [each["loss"] for each in answers[0]] == [each["loss"] for each in answers[1]]
    return {**row, "equal losses": equal, "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="counted steps of each")
    parser.add_argument("--out", type=Path, default=Path("heap.json"))
    parser.add_argument("--worker", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--kept", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.worker, asked.kept)
        return
    rows = [compare(case, asked.steps) for case in CASES]
    for row in rows:
        print(json.dumps({key: value for key, value in row.items() if key != "ratios"}))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
