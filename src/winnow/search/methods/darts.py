"""DARTS: differentiable architecture search (Liu et al. 2019, arXiv:1806.09055)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.gradients import first_order, second_order
from winnow.search.mixture import Parts, Recipe, bilevel
from winnow.search.relax import Logits
from winnow.train.evaluate import Batch

ORDERS = {"first": first_order, "second": second_order}


def darts(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int = 50,
    order: str = "first",
    **recipe: Unpack[Recipe],
) -> Logits:
    """Train weights on `train` and logits on `valid` in turns; returns the logits, `space` keeps the weights.

    The defaults are the published CIFAR-10 search. `order` is "first" (xi = 0) or "second" (one unrolled step).
    """
    return bilevel(space, train, valid, epochs=epochs, parts=lambda epoch: Parts(gradient=ORDERS[order]), **recipe)
