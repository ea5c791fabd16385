"""What a stage takes to its first step, as a ratio within one run.

    python benchmarks/starts.py --pairs 3 --out benchmarks/results/starts.json

The processor time of `winnow search` from the start of the process to the end of its first training step, over that of
a process that imports torch and takes a step. Both by turns. About half of the latter is torch._dynamo, imported for
an optimiser; winnow does without it, so that 1 does not say that winnow costs nothing.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PLAIN = """
import torch
net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Flatten(), torch.nn.Linear(288, 10))
optimiser = torch.optim.SGD(net.parameters(), 0.1)
torch.nn.functional.cross_entropy(net(torch.randn(32, 1, 8, 8)), torch.zeros(32, dtype=torch.long)).backward()
optimiser.step()
"""
FIRST_STEP = """
import os
from winnow.run.progress import Shown
Shown.step = lambda self, steps=1: os._exit(0)
from winnow.cli.main import main
main(["search"])
"""
PARAMS = """
runtime: {threads: 1, checkpoint_seconds: 0}
data: {source: digits, limit_train: 320}
space: {name: nas_bench_201, nas_bench_201: {channels: 4, cells: 1}}
search: {strategy: darts, epochs: 1, batch: 32}
select: {methods: [magnitude]}
evaluate: {controls: 0, searches: 1}
tracking: {enabled: false}
"""


def spent(command: list[str], folder: str) -> float:
    """Processor seconds of a process and its children. A failure ends the benchmark."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{command}: status {done.returncode}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare(name: str, ours: list[str], plain: list[str], folder: str, pairs: int) -> dict[str, Any]:
    """One row: both commands by turns, the first of which warms what the system keeps of files."""
    times = [(spent(plain, folder), spent(ours, folder)) for _ in range(pairs + 1)][1:]
    ratios = [mine / other for other, mine in times]
    return {
        "name": name,
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "cpu_seconds": statistics.median(mine for _, mine in times),
        "n": pairs,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("starts.json"))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "params.yaml").write_text(PARAMS)
        python = [sys.executable, "-c"]
        spent([sys.executable, "-m", "winnow", "prepare"], folder)
        rows = [compare("search to its first step", [*python, FIRST_STEP], [*python, PLAIN], folder, asked.pairs)]
    for row in rows:
        print(f"{row['name']}: {row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f}), n = {row['n']}")
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
