"""Samplers by name, as data: Optuna's and our own, each made anew for every trial from that trial's seed."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from winnow.core.errors import Refused
from winnow.trials.cma import CmaEs
from winnow.trials.draw import draw
from winnow.trials.evolution import Member, fitness, next_child
from winnow.trials.hierarchy import Hierarchy, size
from winnow.trials.morphism import NetworkMorphism
from winnow.trials.own import Known, OwnSampler
from winnow.trials.plan import Plan
from winnow.trials.proxy_sampler import ProxyBO
from winnow.trials.search import Search


class RegularisedEvolution(OwnSampler):
    """`evolution.next_child` over the complete trials of a study; none that would be evaluated as another was."""

    def __init__(self, search: Search, seed: int, population: int = 20, tournament: int = 10):
        if not 1 <= tournament <= population:
            raise Refused(f"regularised_evolution takes 1 ≤ tournament ≤ population, not {tournament}, {population}")
        super().__init__(search.distributions, seed)
        self.search, self.options = search, {"population": population, "tournament": tournament}

    def propose(self, known: Known, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        living = known.complete[-self.options["population"] :]
        members = [Member(self._filled(t.params), fitness(t, known.sign)) for t in living]
        seen = {self._key(t.params) for t in study.get_trials(deepcopy=False) if t.number != trial.number}
        return next_child(self.distributions, members, seen, self.rng, self._key, **self.options)

    def _key(self, parameters: Mapping[str, Any]) -> str:
        return self.search.key(parameters, self.search.architecture(parameters))

    def _filled(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """With a value for what a conditional range left out."""
        ranges = self.distributions.items()
        return {name: parameters[name] if name in parameters else draw(d, self.rng) for name, d in ranges}


def _optunas(make: Callable[..., BaseSampler], **fixed: Any) -> Callable[..., BaseSampler]:
    def made(search: Search, seed: int, **options: Any) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return make(seed=seed, **{**fixed, **options})

    return made


SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "random": _optunas(optuna.samplers.RandomSampler),
    "tpe": _optunas(optuna.samplers.TPESampler, multivariate=True, constant_liar=True),
    "gp": _optunas(optuna.samplers.GPSampler, deterministic_objective=False),
    "nsga2": _optunas(optuna.samplers.NSGAIISampler),
    "nsga3": _optunas(optuna.samplers.NSGAIIISampler),
    "cmaes": CmaEs,
    "brute_force": _optunas(optuna.samplers.BruteForceSampler),
    "regularised_evolution": RegularisedEvolution,
    "network_morphism": NetworkMorphism,
    "proxy_bo": ProxyBO,
    "hierarchy": Hierarchy,
}
CYCLES = {"hierarchy": size}  # those whose trials know whole cycles of trials, whatever the look-back
ONE_OBJECTIVE = ("cmaes", "regularised_evolution", "network_morphism", "proxy_bo", "hierarchy")


def sampler(plan: Plan, search: Search, seed: int) -> BaseSampler:
    """A fresh one. Refused where the plan's name, options or number of objectives do not fit."""
    if plan.sampler not in SAMPLERS:
        raise Refused(f"no sampler {plan.sampler!r}: known are {', '.join(SAMPLERS)}")
    if plan.sampler in ONE_OBJECTIVE and len(plan.objectives) > 1:
        raise Refused(f"sampler {plan.sampler!r} takes one objective, not {len(plan.objectives)}: take tpe or nsga2")
    try:
        return SAMPLERS[plan.sampler](search, seed % 2**32, **plan.sampler_options)
    except (TypeError, ValueError) as error:
        raise Refused(f"sampler {plan.sampler!r} with {dict(plan.sampler_options)}: {error}") from error
