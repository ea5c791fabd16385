"""What is annealed: points of a grid, a linear model's score of each, what it costs, and the exact optimum beside.

Of stages as FOX-NAS has them (Liu et al. 2021, arXiv:2108.08189), or of the single options of any space.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.predictors.protocol import Numbers
from winnow.predictors.stagewise import (
    ACCURACY,
    LATENCY,
    VARIABLES,
    Fit,
    accuracy_terms,
    fit,
    latency_terms,
    stages_of,
    strongest,
)
from winnow.search.additive import Sums, grouped
from winnow.search.anneal import Point
from winnow.search.bench import Bench
from winnow.search.exact import Group, optimum
from winnow.search.fronts import merged
from winnow.search.measured import Measured, coefficients

PUSHED = 200  # iterations of the first run in which depths move most
EARLY = ((100,) * 5, (1, 0, 0, 1, 1), (0,) * 5, (0, 0, 0, 0, 1), (0,) * 5)  # weights of variables, a row each
LATE = ((1,) * 5, (1, 3, 3, 3, 1), (1, 3, 3, 3, 3), (1, 3, 3, 3, 1), (1, 3, 3, 3, 3))
SECONDS = 60.0  # for the exact optimum; then a bound of it
SCORES, TIMES = 0, 2  # events of evidence: coefficients of the score, and of milliseconds


@dataclass(frozen=True)
class Problem:
    """Grids, the model's score of a point, what it costs, its answers; how variables are drawn."""

    sizes: Sequence[int]
    score: Callable[[Point], float]
    costs: Callable[[Point], Sequence[float] | Numbers]
    answers: Callable[[Point], Mapping[str, Value]]
    weights: Callable[[int, int], Sequence[float]]  # of the run and the iteration
    free: int  # so many variables, the first ones, start anywhere; the others at their least
    loose: frozenset[int]  # variables whose options have no order
    optimum: Callable[[Sequence[float]], float]  # the highest score within limits, exact or, in time, a bound of it
    told: str
    rows: list[dict[str, object]]


def has_stages(space: Space) -> bool:
    """Whether networks of `space` are FOX-NAS's five variables a stage."""
    try:
        stages_of([space.decide(lambda d: d.values[-1])])
    except (ValueError, KeyError, TypeError):
        return False
    return True


@dataclass(frozen=True)
class Grids:
    """The variables of `units`: first all depths, then all ratios, and so on; `values` of a space's decisions."""

    units: Sequence[str]
    values: Mapping[str, Sequence[Value]]

    @property
    def flat(self) -> list[Sequence[Value]]:
        of = ("depth", "block2/ratio", "block2/kernel", "block1/ratio", "block1/kernel")
        return [self.values.get(f"{unit}/{what}", (0,)) for what in of for unit in self.units]

    def answers(self, point: Point) -> dict[str, Value]:
        """Those of the network in which all blocks of a stage but the first are alike."""
        flat, found = self.flat, {}
        for name in self.values:
            unit, _, what = name.partition("/")
            block, _, number = what.partition("/")
            row = 0 if what == "depth" else 1 + 2 * (block == "block1") + (number == "kernel")
            at = row * len(self.units) + self.units.index(unit)
            found[name] = flat[at][point[at]]
        return found

    def variables(self, point: Point) -> Numbers:
        """(1, 5, units)."""
        taken = [grid[place] for grid, place in zip(self.flat, point, strict=True)]
        return np.array(taken, dtype=float).reshape(1, len(VARIABLES), len(self.units))


def of_stages(bench: Bench, sums: Sums, seen: Measured) -> Problem:
    """FOX-NAS: five variables a stage; its model of accuracy and, of a calibrated device, that of milliseconds."""
    space, stages = bench.space, _stages(seen)
    fitted = _fitted(lambda: fit(accuracy_terms, stages, seen.scores))
    units = sorted(name.removesuffix("/depth") for name in space.decisions if name.endswith("/depth"))
    grids = Grids(units, {name: d.values for name, d in space.decisions.items()})
    flat = grids.flat
    early, late = ([w for row in rows for w in row] for rows in (EARLY, LATE))

    def weights(run: int, iteration: int) -> Sequence[float]:
        if len(units) != 5:  # published for five stages
            return [1.0] * len(flat)
        return early if run == 0 and iteration <= PUSHED else late

    told = f"  the stages explain accuracy with {_explained(fitted, ACCURACY, units)}"
    rows = _rows(SCORES, strongest(fitted, ACCURACY, units))
    for name in (name for name in bench.most if name.startswith("latency_ms")):
        ms = np.array([bench.sizes(arch)[name] for arch in seen.archs])
        timed = _fitted(lambda ms=ms: fit(latency_terms, stages, ms))  # type: ignore[misc]
        told += f"\n  and {name} with {_explained(timed, LATENCY, units)}"
        rows += _rows(TIMES, strongest(timed, LATENCY, units))
    return Problem(
        [len(grid) for grid in flat],
        lambda p: float(fitted.model(grids.variables(p))[0]),
        lambda p: sums.total(grids.answers(p)),
        grids.answers,
        weights,
        len(units),
        frozenset(),
        lambda limits: _best_of_stages(grids, fitted, sums, limits),
        told,
        rows,
    )


def _stages(seen: Measured) -> Numbers:
    return _fitted(lambda: stages_of(seen.archs))


def _fitted(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except (ValueError, KeyError) as error:
        raise Refused(f"select.annealing: {error}") from error


def _explained(fitted: Fit, terms: Sequence[str], units: Sequence[str]) -> str:
    first = ", ".join(f"{stage} {term} {value:+.2f}" for stage, term, value in strongest(fitted, terms, units)[:5])
    return f"R2 {fitted.r2:.3f} (adjusted {fitted.adjusted:.3f}), most by {first}"


def _best_of_stages(grids: Grids, fitted: Fit, sums: Sums, limits: Sequence[float]) -> float:
    """Scores and costs are sums over stages: by merged Pareto fronts under one limit, by integers under several."""
    count, start = len(grids.units), (0,) * len(grids.flat)
    base, parts = sums.total(grids.answers(start)), []
    for unit in range(count):
        options = list(
            itertools.product(*(range(len(grids.flat[row * count + unit])) for row in range(len(VARIABLES))))
        )
        points = []
        for option in options:
            point = list(start)
            point[unit::count] = option
            points.append(tuple(point))
        scores = fitted.model.parts(np.concatenate([grids.variables(point) for point in points]))[:, unit]
        costs = np.array([sums.total(grids.answers(point)) - base for point in points])
        parts.append((costs.reshape(len(points), len(limits)), scores))
    left = [limit - first for limit, first in zip(limits, base, strict=True)]
    if len(limits) > 1:
        groups = [Group(str(i), tuple(range(len(s))), s, costs) for i, (costs, s) in enumerate(parts)]
        return fitted.model.intercept + optimum(groups, left, SECONDS).bound
    one = merged([(costs[:, 0] if limits else np.zeros(len(scores)), scores) for costs, scores in parts])
    return fitted.model.intercept + float(one.scores[one.best(left[0] if limits else float("inf"))])


def of_options(space: Space, sums: Sums, seen: Measured) -> Problem:
    """Any space: a variable a decision, and a coefficient an answer of decisions that a layer holds together."""
    x, weight = coefficients(sums.parts, seen)
    splits = np.cumsum([len(part.answers) for part in sums.parts])[:-1]
    learnt = Sums(sums.parts, [w[:, None] for w in np.split(weight, splits)], np.zeros(1))
    values = {name: d.values for name, d in space.decisions.items()}

    def answers(point: Point) -> dict[str, Value]:
        return {name: each[place] for (name, each), place in zip(values.items(), point, strict=True)}

    def best(limits: Sequence[float]) -> float:
        left = [limit - first for limit, first in zip(limits, sums.first, strict=True)]
        return optimum(grouped(sums.parts, weight, sums.each), left, SECONDS).bound

    shares = weight * x.std(0) / (seen.scores.std() or np.nan)
    named = [(part, answer) for part in sums.parts for answer in part.answers]
    ranked = sorted(zip(named, shares, strict=True), key=lambda row: -abs(row[1]))
    rows = _rows(SCORES, [(part.name, " ".join(map(str, answer)), float(v)) for (part, answer), v in ranked])
    first = ", ".join(f"{row['decision']} {row['option']} {row['score']:+.2f}" for row in rows[:5])
    sizes = [len(each) for each in values.values()]
    return Problem(
        sizes,
        lambda p: float(learnt.total(answers(p))[0]),
        lambda p: sums.total(answers(p)),
        answers,
        lambda run, iteration: [1.0] * len(sizes),
        len(sizes),
        frozenset(i for i, each in enumerate(values.values()) if not all(isinstance(v, int) for v in each)),
        best,
        f"  most of the accuracy that options explain is by {first}",
        rows,
    )


def _rows(event: int, told: Sequence[tuple[str, str, float]]) -> list[dict[str, object]]:
    """Of evidence: standardised coefficients."""
    return [{"event": event, "decision": d, "option": term, "score": value, "kept": False} for d, term, value in told]
