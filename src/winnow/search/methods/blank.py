"""The mixture of equals: logits that never move, the supernet of DARTS-PT's fixed alpha (Wang et al. 2021)."""

import torch

from winnow.core.space import Space
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.gradients import Objective
from winnow.search.mixture import Between, Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import deciding, softmax
from winnow.search.strategy import strategy


def weights_alone(space: Space, objective: Objective, draws: torch.Generator) -> Between:
    return lambda decided: Parts(relax=deciding(softmax, decided), learn_logits=False)


@strategy("mixture children", between=weights_alone, watched=False)
def blank(bench: Bench, recipe: Recipe) -> Found:
    """Train the weights alone; the logits stay as they started, 1e-3 x N(0, 1) (arXiv:2108.04392, public code)."""
    return bilevel(bench, recipe, parts=lambda epoch: Parts(learn_logits=False))
