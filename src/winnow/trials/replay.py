"""Strategies simulated on a table: what a search would have found, in seconds instead of GPU-days."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from winnow.core.errors import Refused
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

PATIENCE = 1000  # repeats in a row after which a strategy has nothing new to try
Step = tuple[float, int | None]  # what it cost, in full evaluations, and the row that it evaluated fully
Strategy = Callable[["Replay", int], Iterator[Step]]


@dataclass(frozen=True)
class Replay:
    """Find the best `metric` of `table` at `fidelity`; `look_back` simulates as many workers."""

    table: Table
    metric: str
    direction: str
    fidelity: Fidelity
    look_back: int = 1
    options: Mapping[str, Any] | None = None

    @property
    def values(self) -> np.ndarray:
        """Shape (architectures,), larger is better."""
        column = self.table.column(self.metric, dict(self.fidelity))
        return column if self.direction == "maximize" else -column

    def plan(self, strategy: str, seed: int) -> Plan:
        """Of the study that the engine would run for one seed."""
        objectives = {self.metric: self.direction}
        return Plan(objectives, {}, strategy, self.options or {}, look_back=self.look_back, seed=seed)


def task(
    table: Table,
    metric: str,
    direction: str = "maximize",
    look_back: int = 1,
    options: Mapping[str, Any] | None = None,
) -> Replay:
    """On the longest evaluation that the table has of `metric`. Refused where it has none, or not of all rows."""
    fidelities = table.fidelities(metric)
    if not fidelities:
        raise Refused(f"the table has no metric {metric!r}; it has {', '.join(sorted({m for m, _ in table.columns}))}")
    made = Replay(table, metric, direction, fidelities[-1], look_back, options)
    if np.isnan(made.values).any():
        raise Refused(f"{metric} at {dict(made.fidelity)} is not known of every architecture of the table")
    return made


def regrets(of: Replay, strategy: str, seeds: int, evaluations: int, first_seed: int = 0) -> np.ndarray:
    """How far the best row found is from the table's best, in the metric's unit; shape (seeds, evaluations).

    Column i holds the regret once i + 1 full evaluations' worth has been spent; nan before anything was evaluated
    fully. Repeats of an architecture are free, as in the engine.
    """
    return np.array([_regret(of, strategy, seed, evaluations) for seed in range(first_seed, first_seed + seeds)])


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


def _regret(of: Replay, strategy: str, seed: int, evaluations: int) -> np.ndarray:
    values, regret = of.values, np.full(evaluations, np.nan)
    optimum, best, spent = values.max(), np.nan, 0.0
    for cost, row in _steps(of, strategy, seed):
        spent += cost
        if row is not None:
            best = np.fmax(best, values[row])
        now = int(spent + 1e-9)  # whole evaluations spent
        if now:
            regret[now - 1 :] = optimum - best
        if now >= evaluations:
            break
    return regret


def _random(of: Replay, seed: int) -> Iterator[Step]:
    for row in np.random.default_rng(derived(seed, "replay", "random")).permutation(len(of.table)):
        yield 1.0, int(row)


def _evolution(of: Replay, seed: int) -> Iterator[Step]:
    """What the engine's sampler would do, without a study around it."""
    search, plan, values = TableSearch(of.table), of.plan("regularised_evolution", seed), of.values
    coded = _coder(of.table)
    members: list[Member] = []
    seen: set[tuple[Any, ...]] = set()
    evaluated: set[int] = set()
    idle = 0
    for number in range(len(of.table) * PATIENCE):
        rng = random.Random(derived(plan.seed, "trial", number) % 2**32)
        told = members[: max(0, number - plan.look_back + 1)]
        child = next_child(search.distributions, told, seen, rng, **plan.sampler_options)
        row = coded(child)
        seen.add(key_of(child, search.distributions))
        members.append(Member(child, (0.0, values[row])))
        idle = idle + 1 if row in evaluated else 0
        if idle > PATIENCE:
            return
        if row not in evaluated:
            evaluated.add(row)
            yield 1.0, row


def _sampled(of: Replay, seed: int, strategy: str) -> Iterator[Step]:
    """Any sampler, on the view of the study that the engine would show it."""
    plan, sign = of.plan(strategy, seed), 1 if of.direction == "maximize" else -1
    view = View(plan, TableSearch(of.table), "replay", pruner(plan))
    rows: list[int] = []
    evaluated: set[int] = set()
    idle = 0
    while idle <= PATIENCE:
        while view.told <= view.asked - plan.look_back:
            value = float(of.values[rows[view.told]]) * sign
            view.tell(Outcome(COMPLETE, {of.metric: value}), {})
        _, architecture = view.ask()
        assert architecture is not None
        rows.append(of.table.row(architecture))
        idle = idle + 1 if rows[-1] in evaluated else 0
        if rows[-1] not in evaluated:
            evaluated.add(rows[-1])
            yield 1.0, rows[-1]


def _halving(of: Replay, seed: int, brackets: Callable[[int], list[int]]) -> Iterator[Step]:
    """Random rows at the shortest evaluation of a bracket; the best 1/eta of them at each longer one.

    Evaluations of different lengths are different trainings, as in NAS-Bench-201: a promoted row pays for both.
    """
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


def _coder(table: Table) -> Callable[[Mapping[str, Any]], int]:
    """From labels to rows, fast."""
    codes = [{label(value): i for i, value in enumerate(table.options[name])} for name in table.names]
    places = table.places
    if (places < 0).any():
        raise Refused("the table does not have every combination of its decisions: evolution would leave it")

    def row(parameters: Mapping[str, Any]) -> int:
        return int(places[tuple(c[parameters[name]] for c, name in zip(codes, table.names, strict=True))])

    return row


STRATEGIES: dict[str, Strategy] = {
    "random": _random,
    "regularised_evolution": _evolution,
    "successive_halving": lambda of, seed: _halving(of, seed, lambda rungs: [rungs - 1]),
    "hyperband": lambda of, seed: _halving(of, seed, lambda rungs: list(reversed(range(rungs)))),
}
