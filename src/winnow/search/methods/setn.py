"""SETN: a template trained by uniform paths, and an evaluator of mixtures (Dong & Yang 2019, arXiv:1910.05733)."""

from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.mixture import Parts
from winnow.search.paths import uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy
from winnow.train.seeds import rng


@strategy("logits mixture children distribution", shared=True)
def setn(bench: Bench, recipe: Recipe) -> Found:
    """Each weights step trains one uniform path, so that the logits cannot favour what they will judge.

    The logits step is first-order DARTS on the mixture, as in the authors' code. Select with `likeliest`.
    """
    draws = rng(bench.seed, "paths")
    bench.keeper.add(draws=draws)
    path = uniform_paths(bench.space, draws)
    parts = Parts(attach=lambda logits, batch: path())
    return bilevel(bench, recipe, parts=lambda epoch: parts)
