"""The best of a study: the Pareto front of its feasible trials, or a sentence that says why there is none."""

from collections.abc import Sequence

from winnow.core.errors import Refused
from winnow.trials.plan import Plan
from winnow.trials.table import Row


def front(plan: Plan, rows: Sequence[Row]) -> list[Row]:
    """The feasible trials that no other dominates, by number; one trial stands for those with its objectives.

    Only those evaluated in full can be compared. Refused where none of them is feasible.
    """
    feasible = [row for row in rows if row.feasible and in_full(plan, row)]
    if not feasible:
        raise Refused(why_none(plan, rows))
    points = {row.number: [row.objectives[metric] for metric in plan.objectives] for row in feasible}
    first: dict[tuple[float, ...], Row] = {}
    for row in sorted(feasible, key=lambda row: row.number):
        first.setdefault(tuple(points[row.number]), row)
    return [row for point, row in first.items() if not any(dominates(other, point, plan.directions) for other in first)]


def in_full(plan: Plan, row: Row) -> bool:
    """Whether a trial was evaluated as far as the plan goes: one that ended a level earlier is judged by less."""
    return dict(row.fidelity) == dict(plan.fidelity)


def best(plan: Plan, rows: Sequence[Row]) -> Row:
    """The feasible trial with the best first objective; of the front, so ties go to the better others."""
    sign = 1 if plan.directions[0] == "maximize" else -1
    metric = next(iter(plan.objectives))
    return max(front(plan, rows), key=lambda row: (sign * row.objectives[metric], -row.number))


def why_none(plan: Plan, rows: Sequence[Row]) -> str:
    """One sentence on a study without a feasible trial: what stands in the way, and what came nearest."""
    if any(row.feasible for row in rows):
        full = ", ".join(f"{name} {value:g}" for name, value in plan.fidelity.items())
        return f"none of {len(rows)} trials was evaluated in full ({full}): let the search go on for longer"
    judged = [row for row in rows if row.constraints and not row.error]
    if not judged:
        errors = sorted({row.error for row in rows if row.error})
        told = f"; the first error: {errors[0]}" if errors else ""
        return f"none of {len(rows)} trials completed{told}"
    nearest = min(judged, key=lambda row: sum(max(0.0, excess) for excess in row.constraints.values()))
    passed = [
        f"{name.rpartition(' ')[0]} is {nearest.metrics[name.rpartition(' ')[0]]:g} where the "
        f"{name.rpartition(' ')[2]} is {plan.constraints[name.rpartition(' ')[0]][name.rpartition(' ')[2]]:g}"
        for name, excess in nearest.constraints.items()
        if excess > 0
    ]
    return (
        f"none of {len(judged)} trials meets the constraints; nearest is trial {nearest.number}, "
        f"whose {' and '.join(passed)}: loosen the constraints or try more"
    )


def dominates(a: Sequence[float], b: Sequence[float], directions: Sequence[str]) -> bool:
    """Whether `a` is nowhere worse than `b` and somewhere better."""
    gains = [x - y if d == "maximize" else y - x for x, y, d in zip(a, b, directions, strict=True)]
    return min(gains) >= 0 and max(gains) > 0
