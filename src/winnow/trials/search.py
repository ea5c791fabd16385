"""What a trial suggests: the decisions of a space, ranges of hyper-parameters, or both."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, distribution_to_json
from optuna.trial import BaseTrial

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.trials.lookup import Table
from winnow.trials.ranges import Range, suggest_ranges

Identity = Callable[[Architecture], str]  # equal texts for architectures that need not be evaluated twice


class Search(Protocol):
    """What samplers draw from; `distributions` never change within a study."""

    @property
    def distributions(self) -> Mapping[str, BaseDistribution]: ...

    def suggest(self, trial: BaseTrial, whole: bool = True) -> Architecture | None: ...

    def architecture(self, parameters: Mapping[str, Any]) -> Architecture | None: ...

    def key(self, parameters: Mapping[str, Any], architecture: Architecture | None) -> str: ...


MOST = 10_000  # answers of a decision that a trial's parameter takes as categories


def label(value: Value) -> str:
    """An option as text; a subset reads like "0,2"."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def labels(decision: Decision) -> dict[str, Value]:
    """Every answer of `decision` by its label, in the order of its values."""
    if len(decision.values) > MOST:
        raise Refused(
            f"decision {decision.name!r} has {len(decision.values):,} answers, more than trials name one by one "
            f"({MOST:,}): search this space with paths, or with an evolution"
        )
    found = {label(value): value for value in decision.values}
    if len(found) != len(decision.values):
        raise Refused(f"decision {decision.name!r} has options that read alike in a trial: leave commas out of them")
    return found


@dataclass(frozen=True)
class SpaceSearch:
    """The decisions of `space` by their names and `ranges` by theirs.

    A trial suggests every decision, reached or not, so that all trials have the same parameters and relative samplers
    see them whole; only what is reached makes the architecture. `whole=False` asks what is reached alone, as a sampler
    that walks a tree wants it.
    """

    space: Space | None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    identity: Identity = field(default=lambda architecture: architecture.digest)

    def __post_init__(self) -> None:
        shared = sorted(set(self.ranges) & set(self._labels))
        if shared:
            raise Refused(f"{shared[0]!r} names a range and a decision of the space: rename the range")
        if not self.distributions:
            raise Refused("trials have nothing to suggest: give a space, ranges, or both")

    @cached_property
    def _labels(self) -> dict[str, dict[str, Value]]:
        return {} if self.space is None else {name: labels(d) for name, d in self.space.decisions.items()}

    @cached_property
    def distributions(self) -> Mapping[str, BaseDistribution]:
        """By name; those of decisions first."""
        of_space = {name: CategoricalDistribution(tuple(values)) for name, values in self._labels.items()}
        return {**of_space, **{name: each.distribution for name, each in self.ranges.items()}}

    @cached_property
    def digest(self) -> str:
        """Twelve hexadecimal digits of all that can be suggested."""
        rows = {name: distribution_to_json(d) for name, d in self.distributions.items()}
        conditions = {name: each.when for name, each in self.ranges.items()}
        space = None if self.space is None else self.space.digest
        return hashlib.sha256(json.dumps([space, rows, conditions]).encode()).hexdigest()[:12]

    def suggest(self, trial: BaseTrial, whole: bool = True) -> Architecture | None:
        """One trial's parameters, and the architecture among them."""
        asked = {}

        def answer(name: str) -> Value:
            asked[name] = trial.suggest_categorical(name, tuple(self._labels[name]))
            return self._labels[name][asked[name]]

        architecture = None if self.space is None else self.space.decide(lambda d: answer(d.name))
        for name in self._labels if whole else ():
            if name not in asked:
                answer(name)
        suggest_ranges(self.ranges, trial)
        return architecture

    def architecture(self, parameters: Mapping[str, Any]) -> Architecture | None:
        """The one that a trial with these parameters suggests; None without a space."""
        return None if self.space is None else self.space.decide(lambda d: self._labels[d.name][parameters[d.name]])

    def answers(self, name: str) -> Mapping[str, Value]:
        """Those to the decision of that name, by their labels."""
        return self._labels[name]

    def key(self, parameters: Mapping[str, Any], architecture: Architecture | None) -> str:
        """Equal for trials that would be evaluated alike."""
        own = {name: parameters[name] for name in self.ranges if name in parameters}
        return json.dumps([None if architecture is None else self.identity(architecture), own])


class TableSearch:
    """The architectures of a table, to be suggested without the space that they are of."""

    def __init__(self, table: Table):
        self.table = table
        self.values = {name: {label(v): v for v in table.options[name]} for name in table.names}
        self.distributions: Mapping[str, BaseDistribution] = {
            name: CategoricalDistribution(tuple(values)) for name, values in self.values.items()
        }

    def suggest(self, trial: BaseTrial, whole: bool = True) -> Architecture:
        return self.architecture(
            {name: trial.suggest_categorical(name, tuple(values)) for name, values in self.values.items()}
        )

    def architecture(self, parameters: Mapping[str, Any]) -> Architecture:
        return Architecture.of({name: values[parameters[name]] for name, values in self.values.items()})

    def key(self, parameters: Mapping[str, Any], architecture: Architecture | None) -> str:
        assert architecture is not None
        return architecture.digest
