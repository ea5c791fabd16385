"""GDAS: one sampled candidate a decision, gradients of the Gumbel softmax (Dong & Yang 2019, arXiv:1910.04465)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.mixture import Parts, Recipe, bilevel, keep
from winnow.search.relax import Logits, sampled, softmax
from winnow.train.evaluate import Batch
from winnow.train.seeds import generator


def gdas(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int = 250,
    temperature: float = 10.0,
    temperature_min: float = 0.1,
    gradient: str = "all",
    **recipe: Unpack[Recipe],
) -> Logits:
    """Both steps go through one drawn candidate a decision, which alone is computed.

    The temperature falls linearly from `temperature` to `temperature_min` in the last epoch. `gradient` is "all" where
    undrawn candidates learn from the sum of the upstream gradient, as the authors' code has it and all published
    numbers come from, or "drawn" where only the drawn one learns: the two point into rather different directions.
    """
    draws = generator(recipe["seed"], "gumbel")
    keep(recipe, draws=draws)

    def parts(epoch: int) -> Parts:
        now = temperature + (temperature_min - temperature) * epoch / max(epochs - 1, 1)
        return Parts(relax=sampled(space, now, draws, undrawn=gradient == "all"), told=softmax)

    return bilevel(space, train, valid, epochs=epochs, parts=parts, **recipe)
