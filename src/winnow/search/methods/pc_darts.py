"""PC-DARTS: partial channels and normalised edges (Xu et al. 2020, arXiv:1907.05737)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.mixture import Parts, Recipe, bilevel
from winnow.search.relax import Logits
from winnow.train.evaluate import Batch
from winnow.train.seeds import generator


def pc_darts(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int = 50,
    warmup: int = 15,
    **recipe: Unpack[Recipe],
) -> Logits:
    """First-order DARTS on a space of `partial_channels`; the logits rest for `warmup` epochs.

    Edges have logits too where the space decides which to keep (DARTS nodes); cells that keep all their edges
    (NAS-Bench-201) have none to normalise.
    """
    logits = Logits(space, generator(recipe["seed"], "logits"), subsets=True)
    parts = lambda epoch: Parts(learn_logits=epoch >= warmup)  # noqa: E731
    return bilevel(space, train, valid, epochs=epochs, parts=parts, logits=logits, **recipe)
