"""CMA-ES over ranges of numbers (Hansen 2016, arXiv:1604.00772), by the package cmaes."""

import math
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from cmaes import CMA
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from winnow.core.errors import Refused
from winnow.trials.draw import draw
from winnow.trials.evolution import fitness
from winnow.trials.search import Search, SpaceSearch

Number = IntDistribution | FloatDistribution


class CmaEs(BaseSampler):
    """Each `population` trials that ended make a generation, in the order of their numbers.

    The distribution is worked out from those trials anew for every sample, so that nothing but they has to be kept
    (Optuna's own sampler keeps pickles of it in the storage). Generations are ranked: what meets the constraints
    first, what was pruned last; what failed takes no part. `sigma` is the first spread, as a share of each range.
    """

    def __init__(self, search: Search, seed: int, population: int | None = None, sigma: float = 1 / 6):
        self.numbers = {name: number(name, d) for name, d in search.distributions.items() if not d.single()}
        conditions = search.ranges.items() if isinstance(search, SpaceSearch) else ()
        late = next((name for name, each in conditions if each.when), None)
        if late is not None:
            raise Refused(f"sampler 'cmaes' takes ranges that are always asked, and {late!r} is so at times: take tpe")
        if not self.numbers:
            raise Refused("sampler 'cmaes' has no range to sample: each has one value alone")
        self.seed, self.sigma = seed, sigma
        self.population = 4 + int(3 * math.log(len(self.numbers))) if population is None else population
        if self.population < 2 or not 0 < sigma <= 1:
            raise Refused(f"sampler 'cmaes' takes a population of 2 or more, 0 < sigma ≤ 1, not {population}, {sigma}")

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.numbers)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        bounds = np.array([[0.0, 1.0]] * len(self.numbers))
        middle = np.full(len(self.numbers), 0.5)
        cma = CMA(middle, self.sigma, bounds, seed=self.seed, population_size=self.population)
        ended = [t for t in study.get_trials(deepcopy=False) if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        sign = 1 if study.direction is StudyDirection.MAXIMIZE else -1
        for start in range(0, len(ended) - self.population + 1, self.population):
            ranked = sorted(ended[start : start + self.population], key=lambda t: merit(t, sign), reverse=True)
            cma.tell([(self._point(t.params), float(rank)) for rank, t in enumerate(ranked)])
        return {name: value_at(d, x) for (name, d), x in zip(self.numbers.items(), cma.ask().tolist(), strict=True)}

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return draw(distribution, random.Random(self.seed))

    def _point(self, parameters: Mapping[str, Any]) -> np.ndarray:
        return np.array([place_of(d, parameters[name]) for name, d in self.numbers.items()])


def merit(trial: FrozenTrial, sign: int) -> tuple[float, float]:
    return (-math.inf, 0.0) if trial.state is TrialState.PRUNED else fitness(trial, sign)


def number(name: str, d: BaseDistribution) -> Number:
    if isinstance(d, CategoricalDistribution):
        raise Refused(f"sampler 'cmaes' takes numbers only, and {name!r} is a choice: take tpe or gp")
    assert isinstance(d, IntDistribution | FloatDistribution)
    return d


def place_of(d: Number, value: float) -> float:
    """Where `value` lies in its range, 0 … 1; each whole number or step has an equal share of it."""
    low, high = _ends(d)
    return ((math.log(value) if d.log else value) - low) / (high - low)


def value_at(d: Number, place: float) -> float:
    low, high = _ends(d)
    value = low + place * (high - low)
    value = math.exp(value) if d.log else value
    if d.step is not None:
        value = d.low + d.step * round((value - d.low) / d.step)
    value = min(max(value, d.low), d.high)
    return int(value) if isinstance(d, IntDistribution) else float(value)


def _ends(d: Number) -> tuple[float, float]:
    margin = (d.step or 0) / 2
    return (math.log(d.low - margin), math.log(d.high + margin)) if d.log else (d.low - margin, d.high + margin)
