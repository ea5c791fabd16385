"""Strategies simulated on a table: what a search would have found, in seconds instead of GPU-days."""

import functools
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from winnow.core.errors import Refused
from winnow.measure.hypervolume import front, hypervolume
from winnow.train.seeds import derived
from winnow.trials.draw import key_of
from winnow.trials.evolution import Member, next_child
from winnow.trials.lookup import Fidelity, Table
from winnow.trials.outcome import COMPLETE, Outcome
from winnow.trials.plan import Plan
from winnow.trials.samplers import SAMPLERS
from winnow.trials.search import TableSearch, label
from winnow.trials.stopping import pruner
from winnow.trials.view import View

MARGIN = 0.1  # how far below the worst of an objective the volume begins, in ranges: the ends of a front count too
PATIENCE = 1000  # repeats in a row after which a strategy has nothing new to try
Step = tuple[float, int | None]  # what it cost, in full evaluations, and the row that it evaluated fully
Strategy = Callable[["Replay", int], Iterator[Step]]


@dataclass(frozen=True)
class Replay:
    """Find the best `metric` of `table` at `fidelity`; `look_back` simulates as many workers.

    `besides`: further objectives and their directions, so that what is sought is a front. `limits`: what other metrics
    may be at most, by name.
    """

    table: Table
    metric: str
    direction: str
    fidelity: Fidelity
    look_back: int = 1
    options: Mapping[str, Any] | None = None
    besides: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def values(self) -> np.ndarray:
        """Shape (architectures,), larger is better."""
        return self.points[:, 0]

    @cached_property
    def points(self) -> np.ndarray:
        """Shape (architectures, objectives), larger is better."""
        return np.column_stack([self.column(m) * (1 if d == "maximize" else -1) for m, d in self.objectives.items()])

    @cached_property
    def excess(self) -> np.ndarray:
        """How far an architecture passes the limits, added up; shape (architectures,), 0 where it keeps them."""
        over = [np.maximum(self.column(metric) - limit, 0) for metric, limit in self.limits.items()]
        return np.sum(over, axis=0) if over else np.zeros(len(self.table))

    @property
    def objectives(self) -> dict[str, str]:
        return {self.metric: self.direction, **self.besides}

    def column(self, metric: str) -> np.ndarray:
        """At the task's fidelity, or at the longest that the table has of `metric`."""
        return self.table.column(metric, dict(_longest(self.table, metric, self.fidelity)))

    def metrics(self, row: int) -> dict[str, float]:
        """What a trial of this row returns: its objectives and what is limited."""
        return {name: float(self.column(name)[row]) for name in (*self.objectives, *self.limits)}

    def plan(self, strategy: str, seed: int) -> Plan:
        """Of the study that the engine would run for one seed."""
        limits = {metric: {"max": limit} for metric, limit in self.limits.items()}
        return Plan(self.objectives, limits, strategy, self.options or {}, look_back=self.look_back, seed=seed)


def task(
    table: Table,
    metric: str,
    direction: str = "maximize",
    look_back: int = 1,
    options: Mapping[str, Any] | None = None,
    besides: Mapping[str, str] | None = None,
    limits: Mapping[str, float] | None = None,
) -> Replay:
    """On the longest evaluation that the table has of `metric`, among the architectures of which all is known.

    Refused where the table has none of a metric, or no architecture keeps the limits.
    """
    besides, limits = besides or {}, limits or {}
    if twice := [name for name in besides if name == metric]:
        raise Refused(f"{twice[0]} is an objective twice: leave one of the two out")
    fidelity = _longest(table, metric)
    columns = [table.column(m, dict(_longest(table, m, fidelity))) for m in (metric, *besides, *limits)]
    made = Replay(table.of_known(columns), metric, direction, fidelity, look_back, options, besides, limits)
    if not (made.excess == 0).any():
        told = ", ".join(
            f"{m} at most {most:g} (its smallest is {made.column(m).min():g})" for m, most in limits.items()
        )
        raise Refused(f"no architecture of the table keeps {told}: allow more")
    return made


def _longest(table: Table, metric: str, preferred: Fidelity = ()) -> Fidelity:
    fidelities = table.fidelities(metric)
    if not fidelities:
        raise Refused(f"the table has no metric {metric!r}; it has {', '.join(sorted({m for m, _ in table.columns}))}")
    return preferred if preferred in fidelities else fidelities[-1]


def regrets(of: Replay, strategy: str, seeds: int, evaluations: int, first_seed: int = 0) -> np.ndarray:
    """How far what was found is from the table's best; shape (seeds, evaluations).

    Of one objective in its unit; of several, the share of the volume that the table's front dominates, from a tenth
    of each objective's range below its worst, and those found do not. Architectures beyond the limits do not count.
    Column i holds it once i + 1 full evaluations' worth has been spent; nan before anything that counts was evaluated
    fully. Repeats of an architecture are free, as in the engine.
    """
    begin = _from_front(of) if of.besides else _from_best(of)
    return np.array([_regret(of, strategy, s, evaluations, begin()) for s in range(first_seed, first_seed + seeds)])


def found(of: Replay, strategy: str, seed: int, evaluations: int) -> list[int]:
    """The rows that a strategy evaluates fully, in order."""
    rows = (row for _, row in _steps(of, strategy, seed) if row is not None)
    return [row for row, _ in zip(rows, range(evaluations), strict=False)]


def band(regret: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds, and a 95 % confidence interval of the mean: 1.96 standard errors either way."""
    mean = regret.mean(0)
    error = 1.96 * regret.std(0, ddof=1) / np.sqrt(len(regret)) if len(regret) > 1 else np.full_like(mean, np.nan)
    return mean, mean - error, mean + error


def _steps(of: Replay, strategy: str, seed: int) -> Iterator[Step]:
    if strategy in STRATEGIES:
        return STRATEGIES[strategy](of, seed)
    if strategy in SAMPLERS:
        return _sampled(of, seed, strategy)
    raise Refused(f"no strategy {strategy!r}: known are {', '.join(dict.fromkeys([*STRATEGIES, *SAMPLERS]))}")


def _regret(of: Replay, strategy: str, seed: int, evaluations: int, told: Callable[[int], float]) -> np.ndarray:
    regret, spent = np.full(evaluations, np.nan), 0.0
    for cost, row in _steps(of, strategy, seed):
        spent += cost
        now = int(spent + 1e-9)  # whole evaluations spent
        if row is not None:
            regret[now - 1 :] = told(row)
        if now >= evaluations:
            break
    return regret


def _from_best(of: Replay) -> Callable[[], Callable[[int], float]]:
    """Of one objective: makes functions that take the rows of one search and say how far the best is from the best."""
    values = np.where(of.excess == 0, of.values, np.nan)
    optimum = np.nanmax(values)

    def begin() -> Callable[[int], float]:
        best = np.nan

        def told(row: int) -> float:
            nonlocal best
            best = np.fmax(best, values[row])
            return float(optimum - best)

        return told

    return begin


def _from_front(of: Replay) -> Callable[[], Callable[[int], float]]:
    """Of several objectives: which share of what the table's front dominates is left out by the rows of one search."""
    kept = of.excess == 0
    low, high = (function(of.points[kept], axis=0) for function in (np.min, np.max))
    points = MARGIN + (of.points - low) / np.where(high > low, high - low, 1)
    whole = hypervolume(front(points[kept]))

    def begin() -> Callable[[int], float]:
        found, left = np.empty((0, points.shape[1])), np.nan

        def told(row: int) -> float:
            nonlocal found, left
            if kept[row] and not (found >= points[row]).all(1).any():
                found = front(np.vstack([found, points[row]]))
                left = 1 - hypervolume(found) / whole
            return left

        return told

    return begin


def _random(of: Replay, seed: int) -> Iterator[Step]:
    for row in np.random.default_rng(derived(seed, "replay", "random")).permutation(len(of.table)):
        yield 1.0, int(row)


def _evolution(of: Replay, seed: int) -> Iterator[Step]:
    """What the engine's sampler would do, without a study around it."""
    _one_objective(of, "regularised_evolution")
    search, plan, values, excess = TableSearch(of.table), of.plan("regularised_evolution", seed), of.values, of.excess
    at, named = _finder(of.table), _labels(of.table)
    key = functools.partial(key_of, names=search.distributions)
    members: list[Member] = []
    seen: set[tuple[Any, ...]] = set()
    evaluated: set[int] = set()
    idle = 0
    for number in range(len(of.table) * PATIENCE):
        if len(evaluated) == len(of.table):
            return
        rng = random.Random(derived(plan.seed, "trial", number) % 2**32)
        told = members[: max(0, number - plan.look_back + 1)]
        child = next_child(search.distributions, told, seen, rng, key, **plan.sampler_options)
        row = at(child, evaluated)
        if not of.table.whole:
            child = {**child, **named(row)}
        seen.add(key(child))
        members.append(Member(child, (-excess[row], values[row])))
        idle = idle + 1 if row in evaluated else 0
        if idle > PATIENCE:
            return
        if row not in evaluated:
            evaluated.add(row)
            yield 1.0, row


def _sampled(of: Replay, seed: int, strategy: str) -> Iterator[Step]:
    """Any sampler, on the view of the study that the engine would show it."""
    plan, at = of.plan(strategy, seed), _finder(of.table)
    view = View(plan, TableSearch(of.table), "replay", pruner(plan))
    rows: list[int] = []
    evaluated: set[int] = set()
    idle = 0
    while idle <= PATIENCE and len(evaluated) < len(of.table):
        while view.told <= view.asked - plan.look_back:
            view.tell(Outcome(COMPLETE, of.metrics(rows[view.told])), {})
        trial, _ = view.ask()
        rows.append(at(trial.params, evaluated))
        idle = idle + 1 if rows[-1] in evaluated else 0
        if rows[-1] not in evaluated:
            evaluated.add(rows[-1])
            yield 1.0, rows[-1]


def _halving(of: Replay, seed: int, brackets: Callable[[int], list[int]]) -> Iterator[Step]:
    """Random rows at the shortest evaluation of a bracket; the best 1/eta of them at each longer one.

    Evaluations of different lengths are different trainings, as in NAS-Bench-201: a promoted row pays for both.
    """
    _one_objective(of, "halving")
    if of.limits:
        raise Refused("halving knows no limits: take random, regularised_evolution or a sampler")
    fidelities = of.table.fidelities(of.metric)
    lengths = [dict(f).get("epochs", np.nan) for f in fidelities]
    if len(lengths) < 2 or not np.isfinite(lengths).all():
        raise Refused(f"{of.metric} has one fidelity in this table: halving takes at least two, told apart by epochs")
    eta = (of.options or {}).get("eta", (lengths[-1] / lengths[0]) ** (1 / (len(lengths) - 1)))
    sign = 1 if of.direction == "maximize" else -1
    columns = [sign * of.table.column(of.metric, dict(f)) for f in fidelities]
    waiting = iter(np.random.default_rng(derived(seed, "replay", "halving")).permutation(len(of.table)))
    while True:
        for longer in brackets(len(lengths)):  # how many longer evaluations follow the first
            size = int(np.ceil(len(lengths) * eta**longer / (longer + 1)))
            rung = [int(row) for row, _ in zip(waiting, range(size), strict=False)]
            if not rung:
                return
            for level in range(len(lengths) - 1 - longer, len(lengths)):
                for row in rung:
                    yield lengths[level] / lengths[-1], row if level == len(lengths) - 1 else None
                keep = max(1, int(len(rung) / eta))
                rung = sorted(rung, key=lambda row, level=level: -columns[level][row])[:keep]


def _one_objective(of: Replay, strategy: str) -> None:
    if of.besides:
        raise Refused(f"{strategy} takes one objective, not {len(of.objectives)}: take random, nsga2, nsga3 or tpe")


def _finder(table: Table) -> Callable[[Mapping[str, Any], Collection[int]], int]:
    """From labels to rows, fast. Where the table has gaps, to the nearest row that is not yet `evaluated`."""
    codes = [{label(value): i for i, value in enumerate(table.options[name])} for name in table.names]
    places = table.places if table.whole else None
    search = TableSearch(table)

    def row(parameters: Mapping[str, Any], evaluated: Collection[int]) -> int:
        wanted = tuple(c[parameters[name]] for c, name in zip(codes, table.names, strict=True))
        if places is not None:
            return int(places[wanted])
        if table.of_nb101 and (place := table.place(search.architecture(parameters))) is not None:
            return place
        among = np.ones(len(table), bool)
        if len(evaluated) < len(table):
            among[list(evaluated)] = False
        return table.nearest(wanted, among)

    return row


def _labels(table: Table) -> Callable[[int], dict[str, str]]:
    """The labels of a row's answers."""
    names = [[label(value) for value in table.options[name]] for name in table.names]

    def of(row: int) -> dict[str, str]:
        answered = zip(table.names, names, table.codes[row].tolist(), strict=True)
        return {name: labels[code] for name, labels, code in answered if code >= 0}

    return of


STRATEGIES: dict[str, Strategy] = {
    "random": _random,
    "regularised_evolution": _evolution,
    "successive_halving": lambda of, seed: _halving(of, seed, lambda rungs: [rungs - 1]),
    "hyperband": lambda of, seed: _halving(of, seed, lambda rungs: list(reversed(range(rungs)))),
}
