"""The study as trial n may see it: results of trials 0 … n − look_back, parameters of those in flight."""

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from winnow.core.architecture import Architecture
from winnow.train.seeds import derived
from winnow.trials.outcome import COMPLETE, FAILED, PRUNED, Outcome
from winnow.trials.plan import Plan
from winnow.trials.samplers import CYCLES, sampler
from winnow.trials.search import Search

STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
ARCHITECTURE, CAUSED = "architecture", "winnow:study_attrs"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Optuna says nothing below a warning while the block runs."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)


class View:
    """An in-memory Optuna study that learns of trials late, and always equally late.

    `ask` makes the next trial; `tell` is called in the order of numbers, by the engine, when the look-back allows. What
    a sampler notes on the study itself is kept with the trial that caused it, so that a view rebuilt from its trials is
    the view that they came from.
    """

    def __init__(self, plan: Plan, search: Search, name: str, pruner: optuna.pruners.BasePruner):
        self.plan, self.search, self.storage = plan, search, InMemoryStorage()
        with quiet():
            self.study = optuna.create_study(
                directions=plan.directions, storage=self.storage, study_name=name, pruner=pruner
            )
        self.id = self.storage.get_study_id_from_name(name)
        self.asked = self.told = 0
        self._cycle = -1, 0  # where the running cycle begins, and its size, for samplers that go by cycles

    def knows(self, number: int) -> int:
        """How many trials, from the first, trial `number` knows the results of; asked of none before the next one."""
        cycle = CYCLES.get(self.plan.sampler)
        if cycle is None:
            return max(0, number - self.plan.look_back + 1)
        if number == 0:
            return 0
        if self._cycle[0] != self.told:
            ended = self.storage.get_all_trials(self.id, deepcopy=False)[: self.told]
            sign = 1 if self.plan.directions[0] == "maximize" else -1
            self._cycle = self.told, cycle(self.plan.sampler_options, sign, ended)
        begun, size = self._cycle
        return begun if number < begun + size else number

    def ask(self) -> tuple[FrozenTrial, Architecture | None]:
        """The next trial, RUNNING, with its parameters, and its architecture."""
        before = self.storage.get_study_system_attrs(self.id)
        self.study.sampler = sampler(self.plan, self.search, self.seed(self.asked))
        if self.asked == 0 and self.plan.first:
            self.study.enqueue_trial(dict(self.plan.first))
        trial = self.study.ask()
        architecture = self.search.suggest(trial, whole=self.plan.sampler != "brute_force")
        if architecture is not None:
            trial.set_user_attr(ARCHITECTURE, architecture.to_json())
        after = self.storage.get_study_system_attrs(self.id)
        if after != before:
            caused = {name: value for name, value in after.items() if before.get(name) != value}
            self.storage.set_trial_system_attr(self.asked, CAUSED, caused)
        self.asked += 1
        return self.storage.get_trial(self.asked - 1), architecture

    def restore(self, trial: FrozenTrial) -> None:
        """Take back the next trial as `ask` once returned it."""
        for name, value in trial.system_attrs.get(CAUSED, {}).items():
            self.storage.set_study_system_attr(self.id, name, value)
        self.storage.create_new_trial(self.id, trial)
        self.asked += 1

    def tell(self, outcome: Outcome, notes: Mapping[str, Any]) -> None:
        """The result of the first trial that has none; `notes` are what a pruner wrote on it."""
        finish(self.storage, self.told, self.plan, outcome, notes)
        self.told += 1

    def repeats(self, trial: FrozenTrial) -> bool:
        """Whether an earlier trial had the parameters of this one."""
        earlier = self.storage.get_all_trials(self.id, deepcopy=False)[: trial.number]
        return any(other.params == trial.params for other in earlier)

    def seed(self, number: int) -> int:
        return derived(self.plan.seed, "trial", number)

    def up_to(self, horizon: int) -> "Past":
        """The study with the trials before `horizon` alone; all of them must have been told."""
        return Past(self.storage, self.study, horizon)


def finish(
    storage: optuna.storages.BaseStorage, trial_id: int, plan: Plan, outcome: Outcome, notes: Mapping[str, Any]
) -> None:
    """Write an outcome into a trial of `storage`; the state comes last and makes it so."""
    for name, value in notes.items():
        storage.set_trial_system_attr(trial_id, name, value)
    values = plan.values(outcome.metrics) if outcome.state == COMPLETE else None
    excess = plan.excess(outcome.metrics, partly=outcome.state != COMPLETE)
    for name, value in constraint_attrs(excess).items():
        storage.set_trial_system_attr(trial_id, name, value)
    if len(plan.objectives) == 1:
        for step, reported in outcome.reports.items():
            storage.set_trial_intermediate_value(trial_id, step, reported[0])
        if outcome.state == PRUNED and outcome.reports:
            values = [outcome.reports[max(outcome.reports)][0]]
    storage.set_trial_state_values(trial_id, STATES[outcome.state], values)


def constraint_attrs(excess: Mapping[str, float]) -> dict[str, Any]:
    """As Optuna keeps constraints on a trial."""
    return create_trial(value=0.0, constraints=dict(excess)).system_attrs if excess else {}


class Past:
    """A storage that shows the trials before a horizon and keeps what a pruner writes on its trial, in `notes`."""

    def __init__(self, storage: InMemoryStorage, study: optuna.Study, horizon: int):
        self._storage, self._horizon = storage, horizon
        self.notes: dict[str, Any] = {}
        self.study = copy.copy(study)
        self.study._storage = self  # type: ignore[assignment]  # pruners and their bracket studies read it there

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        trials = self._storage.get_all_trials(study_id, deepcopy=deepcopy)[: self._horizon]
        return [t for t in trials if states is None or t.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.notes[key] = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)
