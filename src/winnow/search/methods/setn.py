"""SETN: a template trained by uniform paths, and an evaluator of mixtures (Dong & Yang 2019, arXiv:1910.05733)."""

from collections.abc import Iterable
from typing import Unpack

from winnow.core.space import Space
from winnow.search.mixture import Parts, Recipe, bilevel, keep
from winnow.search.paths import uniform_paths
from winnow.search.relax import Logits
from winnow.train.evaluate import Batch
from winnow.train.seeds import rng


def setn(
    space: Space, train: Iterable[Batch], valid: Iterable[Batch], *, epochs: int = 250, **recipe: Unpack[Recipe]
) -> Logits:
    """Each weights step trains one uniform path, so that the logits cannot favour what they will judge.

    The logits step is first-order DARTS on the mixture, as in the authors' code. Select with `likeliest`.
    """
    draws = rng(recipe["seed"], "paths")
    keep(recipe, draws=draws)
    path = uniform_paths(space, draws)
    parts = Parts(attach=lambda logits, batch: path())
    return bilevel(space, train, valid, epochs=epochs, parts=lambda epoch: parts, **recipe)
