"""GDAS: one sampled candidate a decision, gradients of the Gumbel softmax (Dong & Yang 2019, arXiv:1910.04465)."""

from typing import Literal

from winnow.core.options import Rate
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import sampled, softmax
from winnow.search.strategy import strategy
from winnow.train.seeds import generator


@strategy("logits mixture children distribution", shared=True)
def gdas(
    bench: Bench,
    recipe: Recipe,
    *,
    temperature: Rate = 10.0,
    temperature_min: Rate = 0.1,
    gradient: Literal["all", "drawn"] = "all",
) -> Found:
    """Both steps go through one drawn candidate a decision, which alone is computed.

    The temperature falls linearly from `temperature` to `temperature_min` in the last epoch. `gradient` is "all" where
    undrawn candidates learn from the sum of the upstream gradient, as the authors' code has it and all published
    numbers come from, or "drawn" where only the drawn one learns: the two point into rather different directions.
    """
    draws = generator(bench.seed, "gumbel")
    bench.keeper.add(draws=draws)

    def parts(epoch: int) -> Parts:
        now = temperature + (temperature_min - temperature) * epoch / max(recipe.epochs - 1, 1)
        return Parts(relax=sampled(bench.space, now, draws, undrawn=gradient == "all"), told=softmax)

    return bilevel(bench, recipe, parts=parts)
