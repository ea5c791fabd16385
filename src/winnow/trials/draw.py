"""Drawing parameters from distributions with an explicit generator: what our own samplers share."""

import math
import random
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Parameters = Mapping[str, Any]


def draw(d: BaseDistribution, rng: random.Random) -> Any:
    """A uniform value of `d`, uniform in the logarithm where it says so."""
    if isinstance(d, CategoricalDistribution):
        return d.choices[rng.randrange(len(d.choices))]
    assert isinstance(d, IntDistribution | FloatDistribution)
    if d.log:
        value = math.exp(rng.uniform(math.log(d.low), math.log(d.high)))
        return min(max(round(value), d.low), d.high) if isinstance(d, IntDistribution) else value
    if d.step is not None:
        return d.low + d.step * rng.randrange(round((d.high - d.low) / d.step) + 1)
    return rng.uniform(d.low, d.high)


def draw_all(distributions: Mapping[str, BaseDistribution], rng: random.Random) -> dict[str, Any]:
    return {name: draw(d, rng) for name, d in distributions.items()}


def draw_other(d: BaseDistribution, present: Any, rng: random.Random) -> Any:
    """A uniform value of `d` other than `present`; `present` where `d` has but one."""
    if d.single():
        return present
    if isinstance(d, CategoricalDistribution):
        position = rng.randrange(len(d.choices) - 1)
        return d.choices[position + (position >= d.choices.index(present))]
    while True:
        value = draw(d, rng)
        if value != present:
            return value


def key_of(parameters: Parameters, names: Mapping[str, object]) -> tuple[Any, ...]:
    """Parameters in the order of `names`, to be compared and hashed."""
    return tuple(parameters.get(name) for name in names)
