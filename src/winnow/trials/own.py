"""What our samplers share: Optuna's interface around one function that proposes all parameters of a trial together."""

import random
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from winnow.trials.draw import draw, key_of


class Known(NamedTuple):
    """What a trial may know when it is proposed: those `complete`, in order, and the keys of all others, `seen`."""

    complete: Sequence[FrozenTrial]
    seen: Collection[tuple[Any, ...]]
    sign: int  # 1 where large objectives are good, else -1


class OwnSampler(BaseSampler):
    """For one objective over `distributions`; `propose` is called for each trial, on a sampler made from its seed."""

    def __init__(self, distributions: Mapping[str, BaseDistribution], seed: int):
        self.distributions, self.rng = distributions, random.Random(seed)

    @abstractmethod
    def propose(self, known: Known, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters of `trial`."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        complete = [t for t in others if t.state is TrialState.COMPLETE]
        seen = {key_of(t.params, self.distributions) for t in others}
        sign = 1 if study.direction is StudyDirection.MAXIMIZE else -1
        return self.propose(Known(complete, seen, sign), study, trial)

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        return draw(distribution, self.rng)
