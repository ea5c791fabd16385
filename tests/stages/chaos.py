"""Kills stages at random moments and starts them again: what they write must be what an uninterrupted run writes.

    make chaos, or: python -m tests.chaos --kills 100 --seed 0

Each run is a process of its own, killed by SIGKILL up to 50 ms after a random step of its loops; a second and a third
kill may follow before it is let through. Checkpoints are made as often as the machine allows. Counted are kills, and of
them those after which the last run went on with a checkpoint or a study (resumed), those that came before there was any
or after the end (anew), those that ended in the same bytes (identical), and the others (lost), which make the status 1.
"""

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.stages.tiny import tiny
from winnow.trust.same import LATENCY

COUNTS = ("kills", "resumed", "anew", "identical", "lost")
PATIENCE = 300.0  # seconds for a stage that takes two
LOG, STEP, STEPS = (
    "log",
    "step",
    "steps",
)  # files: what a run says, that it came to the step asked for, its steps in all
SEARCH = {"search.epochs": 3, "search.lr": 0.05, "search.collapse": "off", "select.methods": ["magnitude"]}
DARTS = {"space.name": "darts", "space.darts.channels": 2, "space.darts.layers": 3}
ONE = {"tune.trials": 0, "retrain.seeds": [0]}
RICH = {"retrain.ema": 0.9, "retrain.drop_path": 0.2, "retrain.cutout": 2, "retrain.auxiliary": 0.4}
INHERITED = {"search.strategy": "spos", "select.methods": ["evolution"], "retrain.from": "inherited"}
SPOS = {"search.strategy": "spos", "select.methods": ["evolution"], "search.epochs": 2}
BITS = {"space.name": "resnet", "space.resnet": {"width": 0.0625, "channels": [50, 100], "clip": 2.0}}
CHANNELS = {"space.name": "mobile", "space.mobile": {"width": 0.1, "channels": [40, 100]}}
TRIALS = {"search.strategy": "trials", "search.trials.count": 6, "search.trials.training.epochs": 1}
LEVELS = {
    "search.strategy": "econas",
    "search.epochs": 3,
    "search.econas": {"cycles": 2, "initial": 3, "continued": [1, 1], "parents": [1, 0, 0], "channels": 2},
    "select.methods": ["best"],
}
SHRINK = {"first": 1, "later": 1, "until": 100, "children": 10, "drop": 4}
SHARED = {"first": 1, "later": 1, "until": 100, "drop": 4, "contexts": 1, "batches": 1}
EVOLVED = {"keep": 2, "rounds": [2], "samples": 4}
BRANCHES = {
    "space.name": "multibranch",
    "space.multibranch": {
        "operations": ["lb3_t1", "lb3_t3", "lb5_t1", "rec5_t1", "lb7_t1"],
        **{"branches": 2, "cells": [1, 0, 0, 0, 0, 0, 0], "width": 0.25},
    },
    **{"search.strategy": "nse", "search.epochs": 3, "select.methods": ["shortlist"]},
    "search.nse": {"keep": 2, "spaces": [3, 2], "rounds": [2, 1], "samples": 4, "extra": 1},
}
SELECTIONS = {"search.epochs": 2, "select.methods": ["perturbation", "evolution", "likeliest", "magnitude"]}

CLICKS = {
    "task": "clicks",
    "data.source": "tests.data.visits:clicked",
    "data.limit_train": None,
    "space.name": "interactions",
    "space.interactions": {"embedding": [2, 4], "widths": [8], "depths": [1, 2], "layers": [1], "hidden": [8]},
    "search.strategy": "spos",
    "search.optimiser": "adamw",
    "search.lr": 0.01,
    "select.methods": ["evolution"],
    "retrain.optimiser": "adamw",
    "retrain.lr": 0.01,
}
NECKS = {
    "task": "detection",
    "data.source": "tests.data.squares:boxed_squares",
    "data.limit_train": None,
    "space.name": "fpn",
    "space.fpn": {
        **{"width": 8, "nodes": 2, "deformable": False, "strides": [2, 4, 8, 16]},
        **{"options": {"width": 4}, "depth": 1},
    },
    "search.strategy": "spos",
    "search.optimiser": "adamw",
    "search.lr": 2e-3,
    "search.batch": 16,
    "select.methods": ["evolution"],
    "select.max_macs": "70%",
    "retrain.optimiser": "adamw",
    "retrain.lr": 5e-3,
    "retrain.batch": 16,
}

RETRIEVAL = {
    "task": "retrieval",
    "data.source": "tests.data.characters:drawn",
    "data.limit_train": None,
    "search.strategy": "trials",
    "search.trials": {"count": 3, "objectives": {"recall_1": "maximize"}, "training": {"epochs": 1}},
    "select.methods": ["best"],
    "retrain.optimiser": "adamw",
    "retrain.lr": 0.01,
    "retrain.loss": {"nir": "exp"},
    "tune.trials": 0,
}


SPEECH = {
    "task": "audio_classification",
    "data.source": "tests.data.sounds:heard",
    "data.limit_train": None,
    "search.batch": 16,
    "retrain.batch": 16,
}
VIT = {
    "space.name": "vit",
    "space.vit": {"size": "micro", "embeddings": [16, 32], "heads": [1, 2], "depths": [1, 2], "patch": 2},
    "search.optimiser": "adamw",
    "search.lr": 1e-3,
}
CLIENTS = {
    "search.strategy": "trials",
    "search.trials": {"count": 3, "evaluator": "federated", "federated": {"rounds": 1}},
    "select.methods": ["best"],
    "tune.trials": 0,
    "retrain.federation": {"clients": 3, "ks": 0.5, "rounds": 3, "held_out": 0.2},
}


@dataclass(frozen=True)
class Case:
    """A stage of a tiny pipeline; `before` are the stages it stands on."""

    name: str
    stage: str
    before: tuple[str, ...]
    changes: dict

    def params(self):
        changes = {"runtime.checkpoint_seconds": 0.001, **self.changes}
        return tiny(**{key.replace(".", "__"): value for key, value in changes.items()})


TO_RETRAIN = ("prepare", "search", "select", "tune")
SHORT = [  # for the default tests
    Case("search darts", "search", ("prepare",), {"search.epochs": 3}),
    Case("select", "select", ("prepare", "search"), {"select.methods": ["perturbation", "evolution"]}),
    Case("retrain", "retrain", TO_RETRAIN, {**ONE, **INHERITED, "retrain.epochs": 5, "retrain.ema": 0.9}),
]
CASES = [
    Case("search darts", "search", ("prepare",), {**SEARCH, "search.collapse": "warn"}),
    Case("search darts, DARTS", "search", ("prepare",), {**SEARCH, **DARTS, "search.epochs": 2}),
    Case("search second order", "search", ("prepare",), {**SEARCH, "search.darts.order": "second"}),
    *(
        Case(f"search {name}", "search", ("prepare",), {**SEARCH, "search.strategy": name, **more})
        for name, more in {
            "sdarts": {},
            "gdas": {},
            "gumbel": {},
            "pc_darts": {"search.pc_darts.warmup": 1, "search.pc_darts.share": 2},
            "sgas": {"search.epochs": 9, "search.sgas.warmup": 1, "search.sgas.interval": 1},
            "setn": {},
            "unas": {"search.unas.warmup": 1},
            "subset": {"search.subset.weights": "alternating"},
            "spos": {"select.methods": ["evolution"]},
            "abs": {"select.methods": ["evolution"], **{f"search.abs.{name}": n for name, n in SHRINK.items()}},
            "nse": {"select.methods": ["shortlist"], **{f"search.nse.{name}": n for name, n in EVOLVED.items()}},
            "neas": {"select.methods": ["evolution"], **{f"search.neas.{name}": n for name, n in SHARED.items()}},
        }.items()
    ),
    *(
        Case(f"search spos, {what}", "search", ("prepare",), {**SEARCH, **SPOS, **more})
        for what, more in {"bits": BITS, "channels": CHANNELS}.items()
    ),
    Case("search nse, branches", "search", ("prepare",), {**SEARCH, **BRANCHES}),
    Case("select spos, bits", "select", ("prepare", "search"), {**SPOS, **BITS, "select.max_bitops": "60%"}),
    Case("retrain bits", "retrain", TO_RETRAIN, {**SPOS, **BITS, **ONE, "retrain.from": "inherited"}),
    Case("search trials", "search", ("prepare",), {**TRIALS, "select.methods": ["best"]}),
    Case("search econas", "search", ("prepare",), LEVELS),
    Case("select", "select", ("prepare", "search"), SELECTIONS),
    Case(
        "select front",
        "select",
        ("prepare", "search"),
        {"search.strategy": "spos", "select.methods": ["evolution"], "select.front": [{"max_macs": "60%"}]},
    ),
    Case("select sdarts", "select", ("prepare", "search"), {**SELECTIONS, "search.strategy": "sdarts"}),
    Case("tune", "tune", ("prepare", "search", "select"), {"tune.trials": 5, "tune.epochs": 2}),
    Case("retrain", "retrain", TO_RETRAIN, {"tune.trials": 0, "retrain.epochs": 4}),
    Case("retrain DARTS", "retrain", TO_RETRAIN, {**DARTS, **RICH, **ONE, "retrain.epochs": 3}),
    Case("evaluate", "evaluate", (*TO_RETRAIN, "retrain"), {**ONE, "retrain.epochs": 3}),
    Case("necks search", "search", ("prepare",), {**NECKS, "search.epochs": 3}),
    Case("necks select", "select", ("prepare", "search"), NECKS),
    Case("necks retrain", "retrain", TO_RETRAIN, {**NECKS, **ONE, "retrain.epochs": 6}),
    Case("retrieval search", "search", ("prepare",), RETRIEVAL),
    Case("retrieval retrain", "retrain", TO_RETRAIN, {**RETRIEVAL, **ONE, "retrain.epochs": 4}),
    Case("clicks search", "search", ("prepare",), {**CLICKS, "search.epochs": 3}),
    Case("clicks select", "select", ("prepare", "search"), CLICKS),
    Case("clicks retrain", "retrain", TO_RETRAIN, {**CLICKS, **ONE, "retrain.epochs": 6}),
    Case("speech search", "search", ("prepare",), {**SPEECH, **SPOS}),
    Case("vit search", "search", ("prepare",), {**VIT, **SPOS}),
    Case("federated search", "search", ("prepare",), CLIENTS),
    Case("federated retrain", "retrain", TO_RETRAIN, {**CLIENTS, **ONE}),
    Case(
        "clicks search by trials",
        "search",
        ("prepare",),
        {**CLICKS, **TRIALS, "search.trials.objectives": {"auc": "maximize"}, "select.methods": ["best"]},
    ),
    Case("clicks evaluate", "evaluate", (*TO_RETRAIN, "retrain"), {**CLICKS, **ONE, "retrain.epochs": 3}),
]


def run(case: Case, stage: str, folder: Path, step: int) -> None:
    """In a process of its own: the stage, its words in a log. Checkpoints without regard to what they cost."""
    log = os.open(folder / LOG, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    import importlib

    from winnow.run import fingerprint
    from winnow.train import checkpoint

    due, taken = checkpoint.Keeper.due, itertools.count(1)

    def counted(keeper):
        if next(taken) == step:
            (folder / STEP).touch()
        due(keeper)

    checkpoint.Keeper.due, checkpoint.MOST = counted, 0.5
    os.fsync = lambda handle: None  # against power cuts; what is killed has given its bytes to the kernel
    fingerprint.code_digest = lambda: "under test"  # somebody may be editing beside us
    main = importlib.import_module(f"winnow.pipelines.{stage}").main
    params = case.params()
    for seed in params.retrain.seeds if stage == "retrain" else (None,):
        main(params, folder, *([] if seed is None else [seed]))
    (folder / STEPS).write_text(str(next(taken) - 1))


class Arena:
    """Forks runs from a process that has imported everything, so that a run is its stage and little else."""

    def __init__(self, root: Path):
        self.root = root
        self.context = multiprocessing.get_context("forkserver")
        stages = ("prepare", "search", "select", "tune", "retrain", "evaluate")
        self.context.set_forkserver_preload(
            ["tests.stages.chaos", "torch._dynamo", *(f"winnow.pipelines.{name}" for name in stages)]
        )

    def start(self, case: Case, stage: str, folder: Path, step: int = 0, delay: float = 0.0) -> bool:
        """Whether the stage ended; killed `delay` seconds after `step` if there is such, counted from 1."""
        (folder / STEP).unlink(missing_ok=True)
        process = self.context.Process(target=run, args=(case, stage, folder, step))
        process.start()
        limit = time.monotonic() + PATIENCE
        while process.exitcode is None and not (folder / STEP).exists():
            process.join(0.002)
            if time.monotonic() > limit:
                raise RuntimeError(f"{case.name}: {stage} does not end")
        process.join(delay if process.exitcode is None else None)
        ended = process.exitcode is not None
        if not ended:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        if ended and process.exitcode != 0:
            raise RuntimeError(f"{case.name}: {(folder / LOG).read_text()}")
        return ended

    def prepared(self, case: Case) -> tuple[Path, Path, int]:
        """A folder in which the stage can start, one in which it has ended undisturbed, and the steps it took."""
        ready, whole = (self.root / f"{case.name} {name}" for name in ("ready", "whole"))
        ready.mkdir()
        for stage in case.before:
            self.start(case, stage, ready)
        shutil.copytree(ready, whole, symlinks=True)
        self.start(case, case.stage, whole)
        return ready, whole, int((whole / STEPS).read_text())

    def ordeal(self, case: Case, ready: Path, whole: Path, moments: list[tuple[int, float]]) -> Counter:
        """Kill the stage at `moments`, steps and delays, then let it end."""
        folder, killed = self.root / "ordeal", 0
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ready, folder, symlinks=True)
        for step, delay in moments:
            ended = self.start(case, case.stage, folder, step, delay)
            if ended:  # went on so far that there were fewer steps left
                break
            killed += 1
        if not ended:
            self.start(case, case.stage, folder)
        wrong = differing(folder, whole)
        for name in wrong:
            print(f"  {case.name}, killed {killed} times: {name} differs", file=sys.stderr)
        went_on = "going on with" in (folder / LOG).read_text()
        return Counter(
            kills=killed,
            resumed=killed * went_on,
            anew=killed * (not went_on),
            identical=killed * (not wrong),
            lost=killed * bool(wrong),
        )


def differing(folder: Path, other: Path) -> list[str]:
    """The outputs that are not the same in both, by name; measured times do not count."""
    names = sorted(
        {str(path.relative_to(each)) for each in (folder, other) for path in each.rglob("*") if counts(each, path)}
    )
    return [name for name in names if content(folder / name) != content(other / name)]


def counts(folder: Path, path: Path) -> bool:
    """Whether a path is an output that must be equal: not run ids, reports that hold them, state and the log."""
    parts = path.relative_to(folder).parts
    excluded = parts[0] in (".winnow", LOG, STEP, STEPS) or parts[:2] == ("artifacts", "runs") or path.suffix == ".html"
    return path.is_file() and not excluded


def content(path: Path) -> object:
    if not path.is_file():
        return None
    if path.name == "evaluate.json":
        return {name: value for name, value in json.loads(path.read_text()).items() if name not in LATENCY}
    if path.name == "trials.parquet":
        return pq.read_table(path).drop_columns(["seconds", "device"])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="cases whose name begins so, as in search or vit,speech")
    asked = parser.parse_args()
    draw, total = random.Random(asked.seed), Counter()
    with tempfile.TemporaryDirectory() as root:
        arena = Arena(Path(root))
        print(f"{'':<22}{'steps':>6}" + "".join(f"{name:>11}" for name in COUNTS), flush=True)
        cases = [case for case in CASES if case.name.startswith(tuple(asked.only.split(",")))]
        for number, case in enumerate(cases, 1):
            ready, whole, steps = arena.prepared(case)
            found: Counter = Counter()
            share = asked.kills * number // len(cases)
            while total["kills"] + found["kills"] < share:
                left = share - total["kills"] - found["kills"]
                several = min(left, draw.choice((1, 1, 2, 3)))
                moments = [(draw.randint(1, steps), draw.uniform(0, 0.05)) for _ in range(several)]
                found += arena.ordeal(case, ready, whole, moments)
            total += found
            print(f"{case.name:<22}{steps:>6}" + "".join(f"{found[name]:>11}" for name in COUNTS), flush=True)
    print(f"{'all':<28}" + "".join(f"{total[name]:>11}" for name in COUNTS))
    return int(total["lost"] > 0)
