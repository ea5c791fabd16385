"""Regularised evolution, where the oldest die (Real et al. 2019, arXiv:1802.01548, algorithm 1)."""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from winnow.trials.draw import Parameters, draw_all, draw_other

TRIES = 100  # draws for a child that no trial had, before a repeat is accepted


@dataclass(frozen=True)
class Member:
    """One evaluated trial. `fitness` compares by feasibility first: (−excess over all limits, score); larger wins."""

    parameters: Parameters
    fitness: tuple[float, float]


def fitness(trial: FrozenTrial, sign: int) -> tuple[float, float]:
    """(−total excess over the limits, sign × objective): feasible trials stand above all others."""
    return -sum(max(0.0, excess) for excess in trial.constraints.values()), sign * trial.values[0]


def next_child(
    distributions: Mapping[str, BaseDistribution],
    members: Sequence[Member],
    seen: Collection[Any],
    rng: random.Random,
    key: Callable[[Parameters], Any],
    *,
    population: int = 20,
    tournament: int = 10,
) -> dict[str, Any]:
    """The parameters to try next: random until `population` trials are complete, then a mutant.

    `members` are the complete trials, oldest first, of which the last `population` live; the best of `tournament` drawn
    from them without replacement has one parameter changed. `seen` holds the `key` of all trials, those in flight too:
    what is among them is drawn again.
    """
    living = members[-population:]
    for _ in range(TRIES):
        if len(living) < population:
            child = draw_all(distributions, rng)
        else:
            parent = max(rng.sample(living, min(tournament, len(living))), key=lambda member: member.fitness)
            name = rng.choice(list(distributions))
            changed = draw_other(distributions[name], parent.parameters[name], rng)
            child = {**parent.parameters, name: changed}
        if key(child) not in seen:
            break
    return child
