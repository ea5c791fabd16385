"""The exact optimum of a sum over options under several limits at once, by mixed-integer programming."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.core.decision import Value
from winnow.core.errors import Refused

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """Options of which one is taken: each with what it adds to the score (n,) and to every cost (n, costs).

    `after` names the options of other groups, (group, option), that open this one: asked where one of them is taken,
    and always where there are none. Options that exclude each other open it, as depths open blocks.
    """

    name: str
    options: tuple[Value, ...]
    scores: Numbers
    costs: Numbers
    after: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True)
class Optimum:
    """What is taken of each group that is asked, its score and costs, and `bound`, which no score passes."""

    picks: Mapping[str, Value]
    score: float
    costs: Numbers
    bound: float

    @property
    def gap(self) -> float:
        """How far something better could at most be."""
        return max(0.0, self.bound - self.score)


def optimum(groups: Sequence[Group], limits: Sequence[float] = (), seconds: float | None = None) -> Optimum:
    """The highest score within all `limits`, one a cost; exact, or the best of so many `seconds` with its gap.

    Refused where nothing is within the limits, with the least that each cost can be, or nothing was found in time.
    """
    passed: list[Numbers] = []  # what only the solver's tolerance (a millionth of a limit) lets through
    while True:
        taken, bound = _solved(groups, np.asarray(limits, dtype=float), passed, seconds)
        picks, score, costs = _told(groups, taken)
        if not len(limits) or (costs <= limits).all():
            return Optimum(picks, score, costs, max(bound, score))
        passed.append(taken)


def least(groups: Sequence[Group], cost: int) -> float:
    """The least that cost number `cost` can be, whatever the others are."""
    cheap = [Group(g.name, g.options, -g.costs[:, cost], g.costs[:, :0], g.after) for g in groups]
    return -optimum(cheap).score


def _solved(
    groups: Sequence[Group], limits: Numbers, passed: Sequence[Numbers], seconds: float | None
) -> tuple[Numbers, float]:
    """Which options are taken (options of all groups,), but for those `passed`, and the bound."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    starts = dict(zip((g.name for g in groups), np.cumsum([0, *(len(g.options) for g in groups)]), strict=False))
    by_name = {g.name: g for g in groups}
    scores = np.concatenate([g.scores for g in groups])
    rows: list[Numbers] = []
    low: list[float] = []
    high: list[float] = []
    for group in groups:  # one option, or none where no option that opens the group is taken
        row = np.zeros(len(scores))
        row[starts[group.name] : starts[group.name] + len(group.options)] = 1
        for name, option in group.after:
            row[starts[name] + by_name[name].options.index(option)] -= 1
        rows, low, high = [*rows, row], [*low, 0 if group.after else 1], [*high, 0 if group.after else 1]
    for i, limit in enumerate(limits):
        scale = abs(limit) or 1.0
        costs = np.concatenate([g.costs[:, i] for g in groups])
        rows, low, high = [*rows, costs / scale], [*low, -np.inf], [*high, limit / scale]
    for taken in passed:
        rows, low, high = [*rows, taken], [*low, -np.inf], [*high, taken.sum() - 1]
    options = {"mip_rel_gap": 0.0} | ({} if seconds is None else {"time_limit": seconds})
    answer = milp(
        -scores,
        integrality=np.ones(len(scores)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(np.array(rows), low, high),
        options=options,
    )
    if answer.x is None:
        if answer.status == 2:
            smallest = ", ".join(f"{least(groups, i):.6g}" for i in range(len(limits)))
            raise Refused(
                f"nothing is within the limits {', '.join(f'{limit:.6g}' for limit in limits)} at once: the least of "
                f"each is {smallest}"
            )
        raise Refused(f"no optimum: {answer.message}")
    return np.round(answer.x), -float(answer.mip_dual_bound)


def _told(groups: Sequence[Group], taken: Numbers) -> tuple[dict[str, Value], float, Numbers]:
    """What `taken` says of each group, and its score and costs added up anew."""
    picks: dict[str, Value] = {}
    score, costs, start = 0.0, np.zeros(groups[0].costs.shape[1]), 0
    for group in groups:
        for i in np.flatnonzero(taken[start : start + len(group.options)]):
            picks[group.name] = group.options[i]
            score, costs = score + float(group.scores[i]), costs + group.costs[i]
        start += len(group.options)
    return picks, score, costs
