"""DARTS with Gumbel-softmax weights, soft or straight-through (Jang et al. 2017; Xie et al. 2019, arXiv:1812.09926)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.mixture import Parts, Recipe, bilevel, keep
from winnow.search.relax import Logits, gumbel, softmax, straight_through
from winnow.train.evaluate import Batch
from winnow.train.seeds import generator


def gumbel_darts(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int = 50,
    temperature: float = 1.0,
    temperature_min: float = 0.1,
    hard: bool = True,
    **recipe: Unpack[Recipe],
) -> Logits:
    """Both steps under drawn weights; `hard` makes them one-hot in value, with the gradient of the soft ones.

    All candidates are computed, unlike GDAS. The temperature falls linearly to `temperature_min` in the last epoch.
    """
    draws, relax = generator(recipe["seed"], "gumbel"), straight_through if hard else gumbel
    keep(recipe, draws=draws)

    def parts(epoch: int) -> Parts:
        now = temperature + (temperature_min - temperature) * epoch / max(epochs - 1, 1)
        return Parts(relax=relax(now, draws), told=softmax)

    return bilevel(space, train, valid, epochs=epochs, parts=parts, **recipe)
