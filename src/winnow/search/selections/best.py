"""Selection best: of finished trials, the one with the best first objective that is within the limits."""

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.selection import selection
from winnow.trials.front import best, in_full
from winnow.trials.plan import Plan
from winnow.trials.table import Row


@selection("trials", "takes the best of finished trials", keeps_limits=True)
def best_trial(bench: Bench) -> Chosen:
    """Of the study's front, the best first objective within the limits."""
    plan, rows = bench.needed("trials")()
    winner = best(plan, _within(bench, plan, rows))
    shown = [
        evaluated(
            row.number, row.digest, row.metrics.get("accuracy"), row.number == winner.number, row.metrics.get("loss")
        )
        for row in rows
    ]
    return Architecture.from_json(str(winner.architecture)), shown


def _within(bench: Bench, plan: Plan, rows: list[Row]) -> list[Row]:
    """The trials without those that would be feasible and are beyond a limit. Refused where that leaves none feasible.

    A trial that took over the result of another has an architecture of its own, which is what counts.
    """
    feasible = [row for row in rows if row.feasible and in_full(plan, row)]
    beyond = {row.number for row in feasible if not bench.allowed(Architecture.from_json(str(row.architecture)))}
    if feasible and len(beyond) == len(feasible):
        raise Refused(
            f"none of {len(feasible)} finished trials is within {bench.limits}: raise what stands in the way, or set "
            "search.trials.constraints, under which trials look for smaller ones"
        )
    return [row for row in rows if row.number not in beyond]
