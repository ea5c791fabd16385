"""ProxyBO as an Optuna sampler: `proxy_bo.next_codes` over the complete trials of a study."""

import functools
import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.trials.own import Known, OwnSampler
from winnow.trials.proxy_bo import Settings, next_codes
from winnow.trials.search import Search, TableSearch
from winnow.trials.surrogates import SURROGATES

Proxy = Callable[[Architecture], float]  # larger is better, nan where it cannot be told


class ProxyBO(OwnSampler):
    """Trials in flight are not proposed again; what failed or was pruned teaches nothing.

    `proxies` are functions from an architecture to a number by dotted path, "package.module:function"; on a table its
    metrics do as well. The other options are those of `proxy_bo.Settings`.
    """

    def __init__(
        self,
        search: Search,
        seed: int,
        proxies: Sequence[str] = (),
        surrogate: str = "gaussian_process",
        **settings: Any,
    ):
        unknown = next((name for name in settings if name not in {f.name for f in fields(Settings)}), None)
        if unknown is not None:
            known = ", ".join(f.name for f in fields(Settings))
            raise Refused(f"sampler 'proxy_bo' has no option {unknown!r}: it takes proxies, surrogate, {known}")
        if surrogate not in SURROGATES:
            raise Refused(f"no surrogate {surrogate!r}: known are {', '.join(SURROGATES)}")
        self.search, self.settings, self.surrogate = search, Settings(**settings), SURROGATES[surrogate]
        super().__init__(search.distributions, seed)
        self.draws = np.random.default_rng(seed)
        self.choices: dict[str, tuple[Any, ...]] = {}
        for name, d in search.distributions.items():
            if not isinstance(d, CategoricalDistribution):
                raise Refused(f"sampler 'proxy_bo' takes decisions and choices, and {name!r} is a range of numbers")
            self.choices[name] = d.choices
        self.proxies = [_proxy(name, search) for name in proxies]

    def propose(self, known: Known, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        observed = np.array([self._codes(t.params) for t in known.complete], int).reshape(-1, len(self.choices))
        y = np.array([known.sign * t.values[0] for t in known.complete])
        seen = {self._codes(dict(zip(self.choices, key, strict=True))) for key in known.seen}
        sizes = [len(choices) for choices in self.choices.values()]
        codes = next_codes(sizes, observed, y, seen, self._scores, self.surrogate, self.draws, self.settings)
        return self._parameters(codes)

    def _codes(self, parameters: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(choices.index(parameters[name]) for name, choices in self.choices.items())

    def _parameters(self, codes: Sequence[int]) -> dict[str, Any]:
        return {name: choices[code] for (name, choices), code in zip(self.choices.items(), codes, strict=True)}

    def _scores(self, codes: np.ndarray) -> np.ndarray:
        """Shape (rows, proxies)."""
        if not self.proxies:
            return np.empty((len(codes), 0))
        scores = []
        for each in codes.tolist():
            architecture = self.search.architecture(self._parameters(each))
            assert architecture is not None
            scores.append([proxy(architecture) for proxy in self.proxies])
        return np.array(scores)


def _proxy(name: str, search: Search) -> Proxy:
    if ":" in name:
        return _imported(name)
    if not isinstance(search, TableSearch):
        raise Refused(f"proxy {name!r} is no function: write it like 'my_package.my_module:score'")
    table = search.table
    fidelities = table.fidelities(name)
    if not fidelities:
        raise Refused(f"the table has no proxy {name!r}; it has {', '.join(sorted({m for m, _ in table.columns}))}")
    column = table.column(name, dict(fidelities[-1]))

    def score(architecture: Architecture) -> float:
        row = table.rows.get(architecture.choices)  # none where the table has gaps
        return math.nan if row is None else float(column[row])

    return score


@functools.cache
def _imported(path: str) -> Proxy:
    """Scores are kept for the life of the process: candidates come again and again."""
    module, _, function = path.partition(":")
    try:
        return functools.cache(getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError, ValueError) as error:
        raise Refused(f"no proxy {path!r}: write it like 'my_package.my_module:score' ({error})") from error
