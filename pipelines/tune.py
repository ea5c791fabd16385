"""Stage tune: reads architecture.json and the training splits; writes artifacts/tune/recipe.json, which retrain uses.

Trials train the chosen architecture on weights and arch and judge on select. Trial 0 is the recipe of params.yaml as it
stands, so that tuning ends no worse than it by this measure.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from winnow.config.params import Params
from winnow.config.plans import plan_of_tune
from winnow.run import files
from winnow.run.dry import try_child
from winnow.run.evaluators import TUNE_SPLITS
from winnow.run.revision import md5_of
from winnow.run.trials import CURVE, Request, curve, record, study, worker_params
from winnow.run.work import Work, final_space, working
from winnow.train.seeds import derived
from winnow.trials.front import best
from winnow.trials.importance import importance
from winnow.trials.outcome import COMPLETE
from winnow.trials.plan import Plan
from winnow.trials.ranges import holds, read_ranges
from winnow.trials.search import SpaceSearch
from winnow.trials.table import Row, as_table, write_table

SPLITS = TUNE_SPLITS[0] + TUNE_SPLITS[1]


def main(params: Params, folder: Path) -> None:
    with working("tune", params, folder, splits=SPLITS, upstream=("prepare", "select")) as work:
        if not params.tune.trials:
            _write(work, [], {}, {"trials": 0})
            write_table(folder / files.TUNE_TRIALS, as_table([]))
            work.say("tune.trials is 0: retraining goes by the recipe as it stands")
        else:
            _tune(work)
        work.say(f"  wrote {files.RECIPE}; next: winnow retrain --seed {params.retrain.seeds[0]}")


def _tune(work: Work) -> None:
    task = _task(work)
    base, metric = work.params.retrain.recipe(), work.task.metric
    with study(work, task) as rows:
        winner = best(task.plan, rows)
        tuned = json.loads(winner.parameters)
        score, standing = winner.objectives[metric], _standing(task.plan, rows, metric)
        matters = importance(task.plan, task.search, rows)
        metrics = {
            "trials": len(rows),
            "best_trial": winner.number,
            "metric": metric,
            metric: score,
            f"{metric}_as_it_stands": standing,
        }
        _write(work, curve(task.plan, rows), tuned, metrics, matters)
        record(work, task, rows, files.TUNE_TRIALS)
        work.picture("tuning", "history", curve(task.plan, rows), metric)
        if matters:
            work.picture("importance", "importances", matters)
    changed = ", ".join(f"{name} {getattr(base, name)} → {_short(value)}" for name, value in tuned.items())
    text = work.task.first.text
    against = "" if standing is None else f" against {text(standing)} of the recipe as it stands"
    work.say(f"best of {len(rows)} trials is {winner.number}: {text(score)}{against} (split select)")
    work.say(f"  {changed if winner.number or standing is None else 'nothing changes'}")


def _task(work: Work) -> Request:
    params, folder = work.params, work.folder
    tune = params.tune
    arch = files.read_architecture(folder / files.ARCHITECTURE, final_space(params, folder), params.space.name)
    try_child(params, folder, work.device, arch)
    ranges = read_ranges({name: given.model_dump() for name, given in tune.ranges.items()})
    first = {name: getattr(params.retrain.recipe(), name) for name in ranges}
    if not all(holds(each.distribution, first[name]) for name, each in ranges.items()):
        work.say("  the recipe as it stands lies outside tune.ranges and is not among the trials")
        first = {}
    plan = replace(plan_of_tune(params, first), seed=derived(params.seed, "tune"))
    dump = worker_params(params)
    return Request(
        plan=plan,
        search=SpaceSearch(None, ranges),
        count=tune.trials,
        seconds=tune.seconds,
        factory="winnow.run.evaluators:tune",
        settings={"folder": str(folder.resolve()), "params": dump},
        basis={
            "architecture": arch.digest,
            "begins": md5_of(folder / files.START),
            "recipe": asdict(params.retrain.recipe()),
            "splits": {name: work.split(name).digest for name in SPLITS},
            "space": dump["space"],
            "runtime": params.runtime.arithmetic(),
            "retrain.space": dump["retrain"]["space"],
            "augmentation": dump["data"]["augment"],
            "threads": tune.threads,
        },
    )


def _standing(plan: Plan, rows: list[Row], metric: str) -> float | None:
    """The `metric` of the recipe as it stands, where trial 0 was it and completed."""
    return rows[0].objectives[metric] if plan.first and rows[0].state == COMPLETE else None


def _write(
    work: Work,
    rows: list[dict[str, Any]],
    tuned: dict[str, Any],
    metrics: dict[str, Any],
    matters: Mapping[str, float] = MappingProxyType({}),
) -> None:
    folder = work.folder
    files.write_recipe(folder / files.RECIPE, work.params.retrain.recipe(), tuned)
    files.write_json(folder / files.REPORTS / "tune.json", metrics)
    files.write_rows(folder / files.REPORTS / "tune.csv", rows, CURVE)
    shown = [{"parameter": name, "importance": value} for name, value in matters.items()]
    files.write_rows(folder / files.REPORTS / "importance.csv", shown, ("parameter", "importance"))
    for path in (files.RECIPE, files.REPORTS / "tune.csv", files.REPORTS / "importance.csv"):
        work.run.artifact(folder / path)
    work.run.metrics({name: value for name, value in metrics.items() if isinstance(value, int | float)})


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("tune")
