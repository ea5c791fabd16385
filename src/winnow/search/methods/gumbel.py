"""DARTS with Gumbel-softmax weights, soft or straight-through (Jang et al. 2017; Xie et al. 2019, arXiv:1812.09926)."""

from winnow.core.options import Rate
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import gumbel, softmax, straight_through
from winnow.search.strategy import strategy
from winnow.train.seeds import generator


@strategy("logits mixture children distribution", shared=True)
def gumbel_darts(
    bench: Bench, recipe: Recipe, *, temperature: Rate = 1.0, temperature_min: Rate = 0.1, hard: bool = True
) -> Found:
    """DARTS under drawn weights; `hard` makes them one-hot in value, with the gradient of the soft ones.

    All candidates are computed, unlike GDAS. The temperature falls linearly to `temperature_min` in the last epoch.
    """
    draws, relax = generator(bench.seed, "gumbel"), straight_through if hard else gumbel
    bench.keeper.add(draws=draws)

    def parts(epoch: int) -> Parts:
        now = temperature + (temperature_min - temperature) * epoch / max(recipe.epochs - 1, 1)
        return Parts(relax=relax(now, draws), told=softmax)

    return bilevel(bench, recipe, parts=parts)
