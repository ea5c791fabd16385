"""The mixture of equals: logits that never move, the supernet of DARTS-PT's fixed alpha (Wang et al. 2021)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.mixture import Parts, Recipe, bilevel
from winnow.search.relax import Logits
from winnow.train.evaluate import Batch


def blank(
    space: Space, train: Iterable[Batch], valid: Iterable[Batch], *, epochs: int = 50, **recipe: Unpack[Recipe]
) -> Logits:
    """Train the weights alone; returns the logits as they started, 1e-3 x N(0, 1) (arXiv:2108.04392, public code)."""
    return bilevel(space, train, valid, epochs=epochs, parts=lambda epoch: Parts(learn_logits=False), **recipe)
