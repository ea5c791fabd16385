"""The driver of a study: asks, hands out, records. One process, many workers or many lives give the same trials."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.trial import FrozenTrial

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.trials.executors import Executor
from winnow.trials.outcome import COMPLETE, FIDELITY, PARENT, PRUNED, Job, Outcome
from winnow.trials.plan import Plan
from winnow.trials.record import Record, begun_as, ended_as, opened
from winnow.trials.search import SpaceSearch
from winnow.trials.stopping import pruner, should_stop
from winnow.trials.table import Row
from winnow.trials.view import ARCHITECTURE, View


def run(
    plan: Plan,
    search: SpaceSearch,
    executor: Executor,
    *,
    where: str,
    name: str,
    n_trials: int,
    seconds: float | None = None,
    evaluator: Any = None,
    on_start: Callable[[list[Row]], None] = lambda rows: None,
    on_trial: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """All trials of study `name` at `where` (a journal's path or a database URL), `n_trials` of them in all, by number.

    A study that is there is gone on with: what was in flight when it ended runs again under its number. No trial begins
    once `seconds` have passed. `evaluator` is anything JSON that says how trials are scored; it may not change either.
    `on_start` is called with the trials that are there, `on_trial` with each that ends now. Refused as `record.opened`
    says, where an objective or a constraint is not among what the evaluator returns, or the executor wants more workers
    than the look-back.
    """
    if executor.workers > plan.look_back:
        raise Refused(f"{executor.workers} workers need a look_back of as many or more, not {plan.look_back}")
    try:
        with opened(where, name, plan, search.digest, evaluator) as record:
            deadline = None if seconds is None else time.monotonic() + seconds
            return _Driver(plan, search, executor, record, name, on_trial).drive(n_trials, deadline, on_start)
    finally:
        executor.close()


@dataclass
class _Flight:
    """A trial that has begun and not ended."""

    trial: FrozenTrial
    architecture: Architecture | None
    key: str
    reports: dict[int, list[float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


class _Driver:
    def __init__(
        self,
        plan: Plan,
        search: SpaceSearch,
        executor: Executor,
        record: Record,
        name: str,
        on_trial: Callable[[Row], None],
    ):
        self.plan, self.search, self.executor, self.record, self.on_trial = plan, search, executor, record, on_trial
        self.pruner = pruner(plan)
        self.view = View(plan, search, name, self.pruner)
        self.flights: dict[int, _Flight] = {}
        self.busy = 0  # trials that the executor has; the other flights wait for the trial that they repeat
        self.ended: dict[int, tuple[Outcome, dict[str, Any]]] = {}
        self.first: dict[str, int] = {}  # the trial that is, or was, evaluated for a key
        self.rows: dict[int, Row] = {}

    def drive(
        self, n_trials: int, deadline: float | None, on_start: Callable[[list[Row]], None] = lambda rows: None
    ) -> list[Row]:
        again = self._recall()
        on_start([self.rows[number] for number in sorted(self.rows)])
        exhausted = False
        while True:
            while again and self.busy < self.executor.workers:
                self._launch(again.pop(0))
            late = deadline is not None and time.monotonic() > deadline
            while not (again or late or exhausted) and self._may_begin(n_trials):
                exhausted = not self._begin()
            if not self.busy:
                break
            self._end(*self.executor.next(self._ask, self._restarted))
        return [self.rows[number] for number in sorted(self.rows)]

    def _recall(self) -> list[int]:
        """Take up a recorded study; the trials that must run again."""
        again = []
        for trial in self.record.begun:
            number, (outcome, notes) = trial.number, ended_as(trial)
            self._tell(self.view.knows(number))
            begun = begun_as(trial)
            self.view.restore(begun)
            text = trial.user_attrs.get(ARCHITECTURE)
            architecture = None if text is None else Architecture.from_json(text)
            flight = _Flight(begun, architecture, self._key(begun, architecture))
            if outcome is None:
                self.flights[number] = flight
                again.append(number)
            else:
                self._keep(number, flight, outcome, notes)
        return again

    def _may_begin(self, n_trials: int) -> bool:
        number = self.view.asked
        return (
            number < n_trials
            and self.busy < self.executor.workers
            and all(n in self.ended for n in range(self.view.told, self.view.knows(number)))
        )

    def _begin(self) -> bool:
        """Sample, record and launch the next trial; False where the sampler has nothing new to try."""
        number = self.view.asked
        self._tell(self.view.knows(number))
        trial, architecture = self.view.ask()
        key = self._key(trial, architecture)
        if self.plan.sampler == "brute_force" and self.view.repeats(trial):
            return False
        self.record.begin(trial)
        self.flights[number] = _Flight(trial, architecture, key)
        self._launch(number)
        return True

    def _launch(self, number: int) -> None:
        """Run a trial, or copy the result of the one that it repeats, or let it wait for that."""
        flight = self.flights[number]
        first = self.first.setdefault(flight.key, number)
        if first in self.ended:
            self._copy(number, first)
        elif first == number:
            seed, parent = self.view.seed(number), self._evaluated(flight.trial.system_attrs.get(PARENT))
            fidelity = _fidelity(self.plan, flight.trial)
            job = Job(number, seed, flight.trial.params, flight.architecture, fidelity, parent)
            self.executor.submit(number, job.payload())
            self.busy += 1

    def _end(self, number: int, outcome: Outcome) -> None:
        self.busy -= 1
        flight = self.flights[number]
        self._settle(number, replace(outcome, reports=flight.reports))
        waiting = [n for n, other in self.flights.items() if other.key == flight.key]
        if outcome.state in (COMPLETE, PRUNED):
            for other in waiting:
                self._copy(other, number)
        elif waiting:
            self._launch(waiting[0])

    def _key(self, trial: FrozenTrial, architecture: Architecture | None) -> str:
        """Equal for trials that would be evaluated alike."""
        own = trial.system_attrs.get(FIDELITY)
        return self.search.key(trial.params, architecture) + (json.dumps(own) if own else "")

    def _evaluated(self, number: int | None) -> int | None:
        """The trial whose evaluation `number` stands for: its own, or that which it repeats."""
        if number is None:
            return None
        copied = self.ended[number][0].copy_of
        return number if copied is None else copied

    def _copy(self, number: int, first: int) -> None:
        outcome, _ = self.ended[first]
        self._settle(number, replace(outcome, copy_of=first, seconds=0.0))

    def _settle(self, number: int, outcome: Outcome) -> None:
        flight = self.flights.pop(number)
        if outcome.state == COMPLETE:
            self.plan.values(outcome.metrics)  # refused before anything is written
            self.plan.excess(outcome.metrics)
        self.record.end(number, outcome, flight.notes)
        self._keep(number, flight, outcome, flight.notes)
        self.on_trial(self.rows[number])

    def _keep(self, number: int, flight: _Flight, outcome: Outcome, notes: dict[str, Any]) -> None:
        self.ended[number] = outcome, notes
        self.rows[number] = _row(self.plan, flight.trial, flight.architecture, outcome, self.view.seed(number))
        if outcome.state in (COMPLETE, PRUNED):
            self.first.setdefault(flight.key, number)
        elif self.first.get(flight.key) == number:
            del self.first[flight.key]  # there is nothing to copy: a repeat is evaluated

    def _tell(self, count: int) -> None:
        """Show the view the results of the first `count` trials."""
        while self.view.told < count:
            self.view.tell(*self.ended[self.view.told])

    def _ask(self, number: int, step: int, values: list[float]) -> bool:
        if len(values) != len(self.plan.objectives):
            raise Refused(f"a report has {len(values)} values, but there are {len(self.plan.objectives)} objectives")
        flight = self.flights[number]
        flight.reports[step] = values
        if self.plan.stopper == "none":
            return False
        horizon = self.view.knows(number)
        past = self.view.up_to(horizon)
        earlier = [self.ended[n][0].reports for n in range(horizon)]
        stop = should_stop(self.plan, self.pruner, past, flight.trial, flight.reports, earlier)
        flight.notes.update(past.notes)
        flight.trial.system_attrs.update(past.notes)
        return stop

    def _restarted(self, number: int) -> None:
        flight = self.flights[number]
        for name in flight.notes:
            flight.trial.system_attrs.pop(name)
        flight.reports, flight.notes = {}, {}


def _fidelity(plan: Plan, trial: FrozenTrial) -> dict[str, float]:
    return {**plan.fidelity, **trial.system_attrs.get(FIDELITY, {})}


def _row(plan: Plan, trial: FrozenTrial, architecture: Architecture | None, outcome: Outcome, seed: int) -> Row:
    complete = outcome.state == COMPLETE
    objectives = dict(zip(plan.objectives, plan.values(outcome.metrics), strict=True)) if complete else {}
    if outcome.state == PRUNED and outcome.reports:
        objectives = dict(zip(plan.objectives, outcome.reports[max(outcome.reports)], strict=True))
    return Row(
        number=trial.number,
        architecture=None if architecture is None else architecture.to_json(),
        digest=None if architecture is None else architecture.digest,
        parameters=json.dumps(dict(sorted(trial.params.items()))),
        objectives=objectives,
        constraints=plan.excess(outcome.metrics, partly=not complete),
        metrics=dict(outcome.metrics),
        state=outcome.state,
        copy_of=outcome.copy_of,
        seed=seed,
        fidelity=_fidelity(plan, trial),
        seconds=outcome.seconds,
        device=outcome.device,
        error=outcome.error,
    )
