"""A stage for the tests of tracking: `python fake_stage.py ROOT MODE [NAME=VALUE ...]`; it does nothing but report."""

import contextlib
import json
import sqlite3
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from winnow.tracking import Dataset, track

PARAMS = {
    "seed": 3,
    "data": {"source": "digits"},
    "space": {"name": "nas_bench_201", "cells": 1},
    "search": {"strategy": "darts", "lr": 0.025, "milestones": [1, 2], "limit": None},
    "tracking": {"uri": "http://someone:secret@example.org"},
}


def settings(**changes):
    usual = {"enabled": True, "uri": None, "experiment": "winnow", "required": True, "wandb": False}
    return SimpleNamespace(**usual | {"system_metrics": False, "registered_model": "winnow-test"} | changes)


def tiny_model(folder: Path, classes: int):
    """What `retrain` would give the shipper: the module that belongs to the copied files."""
    import torch

    assert json.loads((folder / "architecture.json").read_text()) == {"op": "conv"}
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 4 * 4, classes))


def machine_was_read(store: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as database:
            return bool(database.execute("SELECT 1 FROM metrics WHERE key LIKE 'system/%'").fetchall())
    except sqlite3.Error:  # there is none yet
        return False


def good(root: Path, run) -> None:
    until = time.monotonic() + 100
    while not machine_was_read(root / ".winnow/mlflow.db") and time.monotonic() < until:
        time.sleep(0.1)
    for epoch in range(3):
        run.metrics({"train/loss": 1 / (epoch + 1), "accuracy": 0.3 * epoch}, epoch)
    run.metric("diverged", float("inf"), step=2)
    run.metric("unknown", float("nan"), step=2)
    run.tag("winnow.colour", "see https://me:secret@example.org")
    found = root / "architecture.json"
    found.write_text('{"op": "conv"}')
    run.artifact(found, "found")
    run.dataset("digits/arch", "b" * 64, "data/splits/arch.parquet", "validation")
    run.model("fake_stage:tiny_model", [found], (3, 4, 4), arguments={"classes": 5}, details={"params": 245})
    run.model("fake_stage:no_such_function", [found], (3, 4, 4), name="broken")
    network = {
        "build": "fake_stage:tiny_model",
        "files": [found],
        "input_shape": (3, 4, 4),
        "arguments": {"classes": 5},
    }
    for number, model in enumerate((network, None)):
        what = {"params": {"lr": 0.1 * number}, "metrics": {"excess params max": float("inf"), "loss": number}}
        run.child(f"good trial {number}", **what, tags={"winnow.trial": str(number)}, model=model)
    found.write_text("changed after it was tracked")
    run.summary(
        {"accuracy_mean": 0.75, "ece": float("nan")}, note="The search **did** help.", tags={"winnow.verdict": "yes"}
    )


def evaluate(root: Path, run, with_model: bool) -> None:
    """A little of everything."""
    found = root / "found.json"
    found.write_text('{"op": "conv"}')
    run.artifact(found)
    if with_model:
        (root / "architecture.json").write_text('{"op": "conv"}')
        files, shape = [root / "architecture.json"], (3, 4, 4)
        run.model("fake_stage:tiny_model", files, shape, arguments={"classes": 5}, details={"params": 245})
    for step in range(3):
        run.metric("loss", 1 / 2**step, step)
    run.tag("winnow.colour", "blue")
    run.summary({"accuracy_mean": 0.75})


def main(root: Path, mode: str, changes: dict) -> None:
    inputs = [Dataset("digits/weights", "a" * 64, "data/splits/weights.parquet")]
    upstream = sorted((root / "artifacts" / "runs").glob("*.json"))
    params = {**PARAMS, "tracking": {**PARAMS["tracking"], **changes}}  # differs between stages of one pipeline run
    with track(mode, params=params, root=root, tracking=settings(**changes), inputs=inputs, upstream=upstream) as run:
        if mode == "good":
            good(root, run)
        elif mode in ("evaluate", "say", "study"):
            evaluate(root, run, with_model=mode == "evaluate")
        elif mode == "fail":
            raise ValueError("no images in https://me:secret@example.org/images\nsecond line")
        elif mode in ("hang", "stop"):
            run.metric("loss", 0.5, step=1)
            print("hanging", flush=True)
            time.sleep(60)
        elif mode == "slow":
            for step in range(1000):
                run.metric("loss", 0.5, step)
                if (root / "go on").exists():
                    break
                time.sleep(0.05)
    print(json.dumps({"record": run.record, "heavy": [name for name in ("mlflow", "wandb") if name in sys.modules]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], {k: json.loads(v) for k, v in (word.split("=", 1) for word in sys.argv[3:])})
