"""PC-DARTS: partial channels and normalised edges (Xu et al. 2020, arXiv:1907.05737)."""

from winnow.core.options import NotNegative, Several
from winnow.core.space import Space
from winnow.holes.partial import partial_channels
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.search.strategy import strategy
from winnow.train.seeds import generator


def partial(space: Space, *, share: Several = 4) -> Space:
    """One channel of `share` passes the candidates."""
    return partial_channels(space, share)


@strategy("logits mixture children distribution", shared=True, form=partial, short={"warmup": 0})
def pc_darts(bench: Bench, recipe: Recipe, *, warmup: NotNegative | None = None) -> Found:
    """First-order DARTS on one channel of `share`; the logits rest for `warmup` epochs.

    None: three tenths of the search, the published 15 of 50. Edges have logits too where the space decides which to
    keep (DARTS nodes); cells that keep all their edges (NAS-Bench-201) have none to normalise.
    """
    begin = 15 * recipe.epochs // 50 if warmup is None else warmup
    logits = Logits(bench.space, generator(bench.seed, "logits"), subsets=True)
    return bilevel(bench, recipe, parts=lambda epoch: Parts(learn_logits=epoch >= begin), logits=logits)
