"""What tracking costs a stage: the same CPU training loop with tracking on and off, in turns, within one process.

    python benchmarks/tracking.py --seconds 10 --pairs 5 --out tracking.json

`cpu` is processor time, of the stage and the shipper together: what remains true on a machine that others use too.
`stage` is the whole `with track(...)` block, waiting for the shipper at its end included; `loop` is the work alone,
which shares the cores with the shipper. `ratio` is the median over pairs of time with tracking over time without.
The pairs meet a shipper that is there, as all stages of a pipeline but its first do; `cold` is a stage that has to
start one (and, the first time in a project, to make the store). `calls_us` is the time of one call in the stage.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import torch
from torch import nn

from winnow.tracking import track
from winnow.tracking.launch import SHIPPER

STEPS_PER_EPOCH = 5
LINGER = 3  # seconds the first shipper waits for another stage, so that a cold start can be measured


def trainer() -> tuple:
    """A small convolutional network with one training step of batch 64 on 32x32 images."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, 32, 32, generator=generator)
    y = torch.randint(10, (64,), generator=generator)
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01)

    def step() -> float:
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def tracking(enabled: bool) -> SimpleNamespace:
    return SimpleNamespace(
        enabled=enabled, uri=None, experiment="benchmark", required=True, wandb=False, system_metrics=True,
        registered_model="none",
    )  # fmt: skip


def stage(step, epochs: int, root: Path, enabled: bool) -> dict[str, float]:
    params = {"section": {f"parameter_{i}": i for i in range(60)}}
    drawing = root / "cell.svg"
    began, cpu, before = time.perf_counter(), time.process_time(), shipper_cpu(root)
    with track("search", params=params, root=root, tracking=tracking(enabled)) as run:
        ready = time.perf_counter()
        for epoch in range(epochs):
            losses = [step() for _ in range(STEPS_PER_EPOCH)]
            run.metrics({f"metric_{i}": losses[i % STEPS_PER_EPOCH] for i in range(8)}, epoch)
            drawing.write_text("<svg/>" * 1000)
            run.artifact(drawing, "drawings")
        done = time.perf_counter()
    ended = time.perf_counter()
    after = shipper_cpu(root)
    shipper = after - before if after >= before else after  # another one has taken over
    cpu = time.process_time() - cpu + shipper
    return {"stage": ended - began, "loop": done - ready, "cpu": cpu, "shipper_cpu": shipper}


def shipper_cpu(root: Path) -> float:
    """Seconds of processor time that the living shippers of this project have used so far."""
    total = 0.0
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        words = process.info["cmdline"] or []
        if SHIPPER in words and str(root / ".winnow") in words:
            total += process.info["cpu_times"].user + process.info["cpu_times"].system
    return total


def calls_us(root: Path, calls: int = 2000) -> float:
    with track("calls", params={}, root=root, tracking=tracking(True)) as run:
        began = time.perf_counter()
        for i in range(calls):
            run.metrics({f"metric_{j}": 0.5 for j in range(8)}, i)
        return (time.perf_counter() - began) / calls * 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=10.0, help="length of the stage without tracking")
    arguments.add_argument("--pairs", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--out", type=Path)
    told = arguments.parse_args()
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["WINNOW_SHIPPER_LINGER"] = str(LINGER)
    torch.set_num_threads(told.threads)
    step = trainer()
    [step() for _ in range(STEPS_PER_EPOCH)]
    began = time.perf_counter()
    [step() for _ in range(4 * STEPS_PER_EPOCH)]
    epochs = max(1, round(4 * told.seconds / (time.perf_counter() - began)))
    with tempfile.TemporaryDirectory() as folder:
        new = stage(step, epochs, Path(folder), enabled=True)  # makes the store as well
        time.sleep(LINGER + 2)  # until its shipper has gone
        os.environ["WINNOW_SHIPPER_LINGER"] = "600"
        cold = stage(step, epochs, Path(folder), enabled=True)
        pairs: list[dict[bool, dict[str, float]]] = []
        for i in range(told.pairs):
            order = (True, False) if i % 2 else (False, True)
            pairs.append({enabled: stage(step, epochs, Path(folder), enabled) for enabled in order})
        calls = calls_us(Path(folder))
        shutil.rmtree(Path(folder) / ".winnow")  # which ends the shipper
    rows = [row(part, pairs) for part in ("stage", "loop", "cpu")]
    result = {
        "rows": rows,
        "new_project": new,
        "cold": cold,
        "warm": {part: statistics.median(pair[True][part] for pair in pairs) for part in cold},
        "calls_us": calls,
        "epochs": epochs,
    }
    result |= {"threads": told.threads, "cores": os.cpu_count(), "load_average": os.getloadavg()}
    text = json.dumps(result, indent=2)
    if told.out:
        told.out.write_text(text + "\n")
    print(text)


def row(part: str, pairs: list[dict[bool, dict[str, float]]]) -> dict:
    ratios = [pair[True][part] / pair[False][part] for pair in pairs]
    return {
        "name": f"tracking/{part}",
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "seconds": statistics.median(pair[True][part] for pair in pairs),
        "baseline_seconds": statistics.median(pair[False][part] for pair in pairs),
    }


if __name__ == "__main__":
    main()
