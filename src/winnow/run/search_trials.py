"""Strategy trials of stage search: Optuna tries architectures of the space, an evaluator scores each."""

from dataclasses import asdict, replace
from typing import Any

from winnow.config.plans import plan_of_search, recipe_of_trials, tried
from winnow.run import files
from winnow.run.int8 import ROWS, winner_in_eight_bits
from winnow.run.trials import CURVE, Request, curve, record, study, worker_params
from winnow.run.work import Work, final_space
from winnow.spaces import nb101_cells
from winnow.spaces.nb201_classes import CLASSES
from winnow.train.seeds import derived
from winnow.trials.front import best, front
from winnow.trials.outcome import COMPLETE
from winnow.trials.plan import Plan
from winnow.trials.ranges import read_ranges
from winnow.trials.search import SpaceSearch
from winnow.trials.table import Row

SPLITS = ("weights", "arch")
IDENTITIES = {**CLASSES, "cell": nb101_cells.identity}


def search_by_trials(work: Work) -> dict[str, float]:
    """Run the study, write its table and curve; what is best of it. Refused where no trial is feasible."""
    task, folder = _task(work), work.folder
    if work.params.select.limited:
        work.say("  limits of select hold when the best trial is taken; search.trials.constraints now")
    metric = next(iter(task.plan.objectives))
    with study(work, task) as rows:
        leaders, winner = front(task.plan, rows), best(task.plan, rows)
        record(work, task, rows, files.TRIALS)
        files.write_rows(folder / files.REPORTS / "trials.csv", curve(task.plan, rows), CURVE)
        work.run.artifact(folder / files.REPORTS / "trials.csv")
        work.picture("trials", "history", curve(task.plan, rows), metric)
        if len(task.plan.objectives) > 1:
            work.picture("pareto", "pareto", *pareto_points(task.plan, rows, leaders))
    if changed := winner_in_eight_bits(work.task, rows):
        work.say(f"  [bold yellow]{changed}[/]")
    for row in leaders:
        told = ", ".join(f"{name} {value:,.6g}" for name, value in row.objectives.items())
        work.say(f"{'→' if row is winner else ' '} trial {row.number:<5} {row.digest}  {told}")
    objectives = {f"best_{name}": value for name, value in winner.objectives.items()}
    complete = sum(row.state == COMPLETE for row in rows)
    return {"trials": len(rows), "complete": complete, "front": len(leaders), "best_trial": winner.number, **objectives}


def pareto_points(plan: Plan, rows: list[Row], leaders: list[Row]) -> tuple[list[dict[str, Any]], list[str]]:
    """A row a complete trial with its objectives, `feasible` and `front`; and the objectives' names."""
    first = {row.number for row in leaders}
    told = [
        {**row.objectives, "number": row.number, "feasible": row.feasible, "front": row.number in first}
        for row in rows
        if row.state == COMPLETE
    ]
    return told, list(plan.objectives)


def _task(work: Work) -> Request:
    params, folder = work.params, work.folder
    settings, dump = tried(params), worker_params(params)
    ranges = read_ranges({name: given.model_dump() for name, given in settings.ranges.items()})
    identity = IDENTITIES.get(settings.identity, lambda arch: arch.digest)
    search = SpaceSearch(final_space(params, folder), ranges, identity)
    basis = {
        "evaluator": settings.evaluator,
        settings.evaluator: getattr(settings, settings.evaluator).model_dump(mode="json"),
        "identity": settings.identity,
        "splits": {name: work.split(name).digest for name in SPLITS},
        "recipe": asdict(recipe_of_trials(params)),
        "retrain.space": dump["retrain"]["space"],
        "augmentation": dump["data"]["augment"],
        "threads": settings.threads,
        "space": dump["space"],
        "runtime": params.runtime.arithmetic(),
    }
    if settings.eight_bits:
        basis["int8"] = ROWS
    if settings.evaluator == "federated":
        basis["federation"] = dump["retrain"]["federation"]
    if settings.evaluator == "inherited":
        basis["supernet"] = {name: value for name, value in dump["search"].items() if name != "trials"}
    return Request(
        plan=replace(plan_of_search(params), seed=derived(params.seed, "search", "trials")),
        search=search,
        count=settings.count,
        seconds=settings.seconds,
        factory="winnow.run.evaluators:search",
        settings={"folder": str(folder.resolve()), "params": dump},
        basis=basis,
    )
