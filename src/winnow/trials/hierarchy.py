"""Sampler `hierarchy`: the strategy of `econas.py` as trials, of which each is one segment of a network's training.

That of a network that goes on says whose it continues (`PARENT`), and each says how many epochs it ends with
(`FIDELITY`). All trials of a cycle may run beside each other, and know the results of the cycles before theirs.
"""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.trials.draw import draw_all
from winnow.trials.econas import Network, Settings, Slot, populations, slots, tournament
from winnow.trials.evolution import fitness
from winnow.trials.outcome import FIDELITY, PARENT
from winnow.trials.own import Known, OwnSampler
from winnow.trials.search import Search, SpaceSearch

CYCLE = "winnow:cycle"  # a note on a trial: 0 for the networks that are drawn at random


def networks(trials: Sequence[FrozenTrial], sign: int) -> list[Network]:
    """Those of ended trials, by number. One whose newest segment did not complete is none any more."""
    found: dict[int, Network] = {}
    for trial in trials:
        before = found.pop(trial.system_attrs.get(PARENT, -1), None)
        if trial.state is TrialState.COMPLETE:
            here = fitness(trial, sign)
            best = here if before is None else max(before.fitness, here)
            level = 1 if before is None else before.level + 1
            found[trial.number] = Network(trial.number, trial.params, level, best, trial.system_attrs[CYCLE])
    return list(found.values())


def cycle_of(trials: Sequence[FrozenTrial], sign: int, settings: Settings) -> tuple[int, list[Slot]]:
    """The number of the cycle that begins after the ended `trials`, and what it trains."""
    cycle = trials[-1].system_attrs[CYCLE] + 1 if trials else 0
    return cycle, slots(populations(networks(trials, sign), cycle, settings), settings)


def mutated(parameters: Mapping[str, Any], search: SpaceSearch, rng: random.Random) -> dict[str, Any]:
    """`parameters` with one decision answered otherwise, of those that the architecture reaches: always another one.

    Half the time one that says which others are reached (in a cell, where a node's inputs come from), else one of the
    rest (an operation). Of a subset one element is exchanged. What is reached by the new answer takes over, in order,
    the answers of what no longer is: a rewired edge keeps its operation.
    """
    before = search.architecture(parameters)
    assert before is not None
    answers = {name: search.answers(name) for name in before}
    open_ = [name for name in before if len(answers[name]) > 1]
    wiring = [name for name in open_ if _opens(search, name)]
    rest = [name for name in open_ if name not in wiring]
    if not open_:
        return dict(parameters)
    name = rng.choice(wiring if wiring and (not rest or rng.random() < 0.5) else rest)
    changed = {**parameters, name: rng.choice(_nearest(answers[name], parameters[name]))}
    after = search.architecture(changed)
    assert after is not None
    lost, gained = ([n for n in one if n not in other] for one, other in ((before, after), (after, before)))
    for new, old in zip(gained, lost, strict=False):
        if parameters[old] in search.answers(new):
            changed[new] = parameters[old]
    return changed


def _opens(search: SpaceSearch, name: str) -> bool:
    """Whether other decisions are reached by some answers to `name` alone."""
    assert search.space is not None
    decision = search.space.decisions[name]
    return any(search.space.below(decision, option) for option in decision.options)


def _nearest(answers: Mapping[str, Value], present: str) -> list[str]:
    """The labels of the other answers that differ in the fewest elements: all others where an answer is one."""
    own = _elements(answers[present])
    apart = {label: len(own ^ _elements(value)) for label, value in answers.items() if label != present}
    return [label for label, distance in apart.items() if distance == min(apart.values())]


def _elements(value: Value) -> set[Any]:
    return set(value) if isinstance(value, tuple) else {value}


class Hierarchy(OwnSampler):
    """Proposes the segments of `slots`, in their order."""

    def __init__(self, search: Search, seed: int, **options: Any):
        if not isinstance(search, SpaceSearch) or search.space is None or search.ranges:
            raise Refused("sampler 'hierarchy' mutates the decisions of a space, and takes no ranges beside them")
        super().__init__(search.distributions, seed)
        self.search, self.settings = search, Settings(**options)

    def propose(self, known: Known, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        ended = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished()]
        cycle, found = cycle_of(ended, known.sign, self.settings)
        slot = found[trial.number - len(ended)]
        level = 1 if slot.network is None else slot.network.level + 1
        notes: dict[str, Any] = {CYCLE: cycle, FIDELITY: {"epochs": float(level * self.settings.segment)}}
        if slot.network is not None:
            notes[PARENT] = slot.network.number
        for name, value in notes.items():
            study._storage.set_trial_system_attr(trial._trial_id, name, value)
        if slot.network is not None:
            return dict(slot.network.parameters)
        if not slot.among:
            return draw_all(self.distributions, self.rng)
        return mutated(tournament(slot.among, self.rng).parameters, self.search, self.rng)


def size(options: Mapping[str, Any], sign: int, ended: Sequence[FrozenTrial]) -> int:
    """How many trials the cycle has that begins after the `ended` ones: they run without each other's results."""
    return len(cycle_of(ended, sign, Settings(**options))[1])
