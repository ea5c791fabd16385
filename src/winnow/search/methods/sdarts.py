"""SmoothDARTS: SDARTS-RS and SDARTS-ADV (Chen & Hsieh 2020, arXiv:2002.05283)."""

from collections.abc import Mapping
from typing import Literal

import torch

from winnow.core.decision import Value
from winnow.core.holes import Setting
from winnow.core.options import Weight
from winnow.core.space import Space
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.gradients import Objective
from winnow.search.mixture import Between, Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, deciding, softmax
from winnow.search.smooth import GRADIENTS, adversarial_noise, random_noise
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch
from winnow.train.seeds import generator

Noise = Literal["random", "adversarial"]


def disturbed(
    space: Space, objective: Objective, draws: torch.Generator, *, noise: Noise = "random", epsilon: Weight = 0.3
) -> Between:
    """The mixture weights of what is still open are disturbed by `epsilon`; a decided option is exactly itself whenever
    weights train (Wang et al. 2021, public code).
    """
    disturb = random_noise(epsilon, draws) if noise == "random" else adversarial_noise(space, objective, epsilon, draws)

    def parts(decided: Mapping[str, Value]) -> Parts:
        def attach(logits: Logits, batch: Batch) -> Setting:
            still_open = {name: row for name, row in softmax(logits).items() if name not in decided}
            return {**disturb(still_open, batch, decided), **decided}

        return Parts(relax=deciding(softmax, decided), gradient=GRADIENTS[noise], attach=attach)

    return parts


@strategy("logits mixture children distribution", between=disturbed)
def sdarts(
    bench: Bench, recipe: Recipe, *, noise: Noise = "random", epsilon_min: Weight = 0.03, epsilon: Weight = 0.3
) -> Found:
    """First-order DARTS whose weights train under disturbed mixtures; the logits step sees them undisturbed.

    `noise` is "random" (RS) or "adversarial" (ADV, about three times the work); its radius grows from `epsilon_min`
    towards `epsilon` over the epochs. With both 0 it is DARTS.
    """
    draws, space = generator(bench.seed, "noise"), bench.space
    bench.keeper.add(draws=draws)

    def parts(epoch: int) -> Parts:
        radius = epsilon_min + (epsilon - epsilon_min) * epoch / recipe.epochs
        if radius == 0:
            return Parts()
        random = noise == "random"
        disturb = random_noise(radius, draws) if random else adversarial_noise(space, bench.objective, radius, draws)
        return Parts(gradient=GRADIENTS[noise], attach=lambda logits, batch: disturb(softmax(logits), batch, {}))

    return bilevel(bench, recipe, parts=parts)
