"""What the steps between two decisions of DARTS-PT are made of, where it is not first-order DARTS."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F

from winnow.core.decision import Value
from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.search.mixture import Parts
from winnow.search.relax import deciding, softmax
from winnow.search.smooth import adversarial_noise, random_noise
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import generator


def tuning(
    strategy: str,
    space: Space,
    objective: Objective,
    seed: int,
    *,
    noise: str = "random",
    epsilon: float = 0.3,
    keeper: Keeper | None = None,
) -> Callable[[Mapping[str, Value]], Parts]:
    """The parts after some decisions are made, for `resume_mixture`.

    "blank" trains weights alone; "sdarts" disturbs all mixture weights by `epsilon`, those of decided options too
    (Wang et al. 2021, public code). `keeper` keeps the stream of the noise.
    """
    draws = generator(seed, "tuning")
    (keeper or Keeper()).add(draws=draws)
    disturb = random_noise(epsilon, draws) if noise == "random" else adversarial_noise(space, objective, epsilon, draws)

    def parts(decided: Mapping[str, Value]) -> Parts:
        relax = deciding(softmax, decided)
        if strategy == "blank":
            return Parts(relax=relax, learn_logits=False)
        if strategy != "sdarts":
            return Parts(relax=relax)

        def attach(logits, batch):
            weights, kept = dict(softmax(logits)), {}
            for name, value in decided.items():
                if name in weights:
                    options = space.decisions[name].options
                    weights[name] = F.one_hot(torch.tensor(options.index(value)), len(options)).to(weights[name])
                else:
                    kept[name] = value
            return {**disturb(weights, batch, kept), **kept}

        return Parts(relax=relax, attach=attach)

    return parts
