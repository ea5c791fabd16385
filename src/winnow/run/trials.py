"""A study of trials as part of a stage: where its record lies, who runs its trials, what is told while they run.

The record lies outside DVC's outputs, in .winnow/trials, under a name that holds a fingerprint of all that the trials
stand on: the same command goes on after a kill, and another parameter never goes on with what it did not begin.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from winnow.config.params import Params
from winnow.core.example import row_of
from winnow.run import files
from winnow.run.fingerprint import fingerprint
from winnow.run.networks import example_of
from winnow.run.progress import Shown
from winnow.run.work import Work
from winnow.tracking import state_folder
from winnow.trials.engine import run
from winnow.trials.executors import Executor, Inline, leases
from winnow.trials.front import front, in_full
from winnow.trials.plan import HEIRS, Plan
from winnow.trials.processes import Processes
from winnow.trials.record import public
from winnow.trials.search import SpaceSearch
from winnow.trials.table import Row, as_table, write_table
from winnow.trials.worker import evaluator

MODELS = "models"
CURVE = ("trial", "state", "digest", "objective", "best", "feasible", "front")


@dataclass(frozen=True)
class Request:
    """What a stage wants tried; `factory(**settings)`, "package.module:function", makes the evaluator of a worker."""

    plan: Plan
    search: SpaceSearch
    count: int  # trials in all
    seconds: float | None
    factory: str
    settings: Mapping[str, Any]
    basis: Mapping[str, Any]  # JSON: everything else that the results depend on


@dataclass(frozen=True)
class Place:
    """Where a study is kept; `name` ends in the number of its life where it was run again from the beginning."""

    name: str
    where: str
    folder: Path  # of networks that trials leave
    done: Path  # says that the stage ended well after so many trials


def place(work: Work, task: Request) -> Place:
    """A finished study that is asked for no more trials than it has begins a new life: somebody forces a rerun."""
    state = state_folder(work.folder) / "trials"
    shown = {"plan": task.plan.described(), "search": task.search.digest, "factory": task.factory}
    name = f"{work.stage}-{fingerprint(**shown, basis=dict(task.basis), outside=dict(work.outside))}"
    done = state / f"{name}.done"
    before = files.read_json(done, work.stage) if done.is_file() else {"trials": 0, "life": 0}
    life = before["life"] + (before["trials"] >= task.count)
    named = f"{name}-{life}" if life else name
    where = work.params.trials.storage or str(state / f"{named}.log")
    return Place(named, where, state / named / MODELS, done)


@contextlib.contextmanager
def study(work: Work, task: Request) -> Iterator[list[Row]]:
    """The trials of `task`, those of an earlier start among them. Finished once the block ends well.

    Refused as `trials.engine.run` refuses.
    """
    at = place(work, task)
    settings = {**task.settings, "models": None, "weights": None}
    if work.params.trials.log != "none":
        settings["models"] = str(at.folder)
    if task.plan.sampler in HEIRS:
        settings["weights"] = str(at.folder.with_name("weights"))
    threads = torch.get_num_threads()
    with Shown(work.run) as watch:
        teller = _Teller(work, task, watch, at)
        shown = public(at.where)[0] if "://" in at.where else at.where
        try:
            rows = run(
                task.plan,
                task.search,
                executor(work, task.factory, settings),
                where=at.where,
                name=at.name,
                n_trials=task.count,
                seconds=task.seconds,
                evaluator=dict(task.basis),
                on_start=teller.start,
                on_trial=teller.trial,
            )
        finally:
            torch.set_num_threads(threads)
    work.say(f"  {len(rows)} trials: {_counted(rows)}; look at them with: optuna-dashboard {shown}")
    yield rows
    life = int(at.name.rpartition("-")[2]) if at.name != at.done.stem else 0
    files.write_json(at.done, {"trials": task.count, "life": life})


def record(work: Work, task: Request, rows: list[Row], table: Path) -> None:
    """The study in the stage's run: the table, pictures, and trials as runs of their own (`trials.log`)."""
    write_table(work.folder / table, as_table(rows))
    work.run.artifact(work.folder / table)
    settings, at = work.params.trials, place(work, task)
    work.run.tag("winnow.study", at.name)
    work.run.metrics({"trials": len(rows), **{f"trials_{s}": sum(r.state == s for r in rows) for s in _states(rows)}})
    shown = top(task.plan, rows, settings.top)
    logged = {"all": rows, "top": shown, "none": []}[settings.log]
    for row in sorted(logged, key=lambda row: row.number):
        model = at.folder / f"{row.copy_of if row.copy_of is not None else row.number}.safetensors"
        work.run.child(
            f"{work.stage} trial {row.number}",
            params={**json.loads(row.parameters), "architecture": row.digest or "", "seed": row.seed},
            metrics={**row.metrics, **{f"excess {name}": value for name, value in row.constraints.items()}},
            tags={"winnow.trial": str(row.number), "winnow.state": row.state, "winnow.error": row.error},
            model=_logged(model, work.params) if row in shown and model.is_file() else None,
        )


def _logged(model: Path, params: Params) -> dict[str, Any]:
    """A network of a trial as `tracking.Run.child` takes it."""
    _, about = files.read_tensors(model, "retrain")
    return {
        "build": "winnow.run.model:logged_model",
        "files": [model],
        "arguments": {"file": model.name, "space": params.space.code, "task": params.task},
        "input_shape": about["shape"],
        **({} if (row := row_of(example_of(about["facts"]))) is None else {"example": row}),
        "details": {"architecture": about["digest"]},
    }


def top(plan: Plan, rows: list[Row], count: int) -> list[Row]:
    """The best feasible trials by the first objective, of those evaluated in full, repeats left out."""
    metric, direction = next(iter(plan.objectives.items()))
    sign = -1 if direction == "maximize" else 1
    feasible = [row for row in rows if row.feasible and row.copy_of is None and in_full(plan, row)]
    return sorted(feasible, key=lambda row: (sign * row.objectives[metric], row.number))[:count]


def curve(plan: Plan, rows: list[Row]) -> list[dict[str, Any]]:
    """A row a trial; `objective` and `best` are of the first objective, `best` among the feasible in full."""
    (metric, direction), *_ = plan.objectives.items()
    better = max if direction == "maximize" else min
    leaders = {row.number for row in front(plan, rows)}
    found, leading = [], None
    for row in rows:
        value = row.objectives.get(metric)
        if row.feasible and in_full(plan, row) and value is not None:
            leading = value if leading is None else better(leading, value)
        found.append(
            {
                "trial": row.number,
                "state": row.state,
                "digest": row.digest,
                "objective": "" if value is None else value,
                "best": "" if leading is None else leading,
                "feasible": row.feasible,
                "front": row.number in leaders,
            }
        )
    return found


def worker_params(params: Params) -> dict[str, Any]:
    """All of params.yaml as JSON, for processes that need no addresses and so get none."""
    dump: dict[str, Any] = params.model_dump(mode="json")
    dump["trials"]["storage"] = dump["trials"]["address"] = dump["tracking"]["uri"] = None
    return dump


def executor(work: Work, factory: str, settings: Mapping[str, Any], count: int | None = None) -> Executor:
    """What runs the evaluators that `factory(**settings)` makes, as section trials says; `count` of them, if given."""
    trials = work.params.trials
    workers = count or trials.workers
    if trials.executor == "inline":
        made = evaluator(factory, {**settings, "device": str(work.device)})
        return Inline(made, str(work.device))
    if trials.executor == "ray":
        from winnow.trials.ray_executor import Ray

        settings = {**settings, "device": "cuda" if trials.resources.get("gpu", 0) > 0 else "cpu"}
        return Ray(factory, settings, workers, trials.resources, trials.address)
    settings = {**settings, "device": work.device.type}
    devices = leases() if work.device.type == "cuda" else []
    if work.device.index is not None:
        devices = devices[work.device.index : work.device.index + 1]
    return Processes(factory, settings, workers, devices=devices)


class _Teller:
    """Shows and logs each trial as it ends, and drops networks that are no longer among the best."""

    def __init__(self, work: Work, task: Request, watch: Shown, at: Place):
        self.work, self.task, self.watch, self.at = work, task, watch, at
        self.rows: list[Row] = []

    def start(self, rows: list[Row]) -> None:
        self.rows = list(rows)
        self.watch.start(f"{self.work.stage} trials ({self.task.plan.sampler})", self.task.count)
        if rows:
            self.watch.step(len(rows))
            self.work.say(f"  going on with study {self.at.name}: {len(rows)} of {self.task.count} trials are there")

    def trial(self, row: Row) -> None:
        self.rows.append(row)
        self.watch.step()
        leading = top(self.task.plan, self.rows, self.work.params.trials.top)
        shown = {f"trial_{name}": value for name, value in row.objectives.items() if row.state == "complete"}
        if leading:
            metric = next(iter(self.task.plan.objectives))
            shown[f"best_{metric}"] = leading[0].objectives[metric]
            self.watch.last = f"  best {metric} {leading[0].objectives[metric]:.5g} (trial {leading[0].number})"
        if shown:
            self.work.run.metrics(shown, step=row.number)
        if row.error:
            self.work.say(f"  trial {row.number} failed: {row.error}")
        kept = {f"{each.number}.safetensors" for each in leading}
        for path in self.at.folder.glob("*.safetensors"):
            if path.name not in kept and int(path.stem) in {each.number for each in self.rows}:
                path.unlink(missing_ok=True)


def _states(rows: list[Row]) -> list[str]:
    return sorted({row.state for row in rows})


def _counted(rows: list[Row]) -> str:
    repeats = sum(row.copy_of is not None for row in rows)
    counted = ", ".join(f"{sum(row.state == state for row in rows)} {state}" for state in _states(rows))
    return counted + (f" ({repeats} of them repeats)" if repeats else "")
