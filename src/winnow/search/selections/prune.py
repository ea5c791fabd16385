"""Selection prune: what is left of a supernet pruned at initialisation (FreeNAS); see `winnow.search.freenas`."""

from typing import cast

from winnow.core.errors import Refused
from winnow.search.bench import Bench, Chosen, scored
from winnow.search.freenas import freenas
from winnow.search.selection import selection, unsummed
from winnow.train.seeds import generator


@selection("initialised", "prunes a network that nobody trained", keeps_limits=True, sums=True)
def by_pruning(bench: Bench, *, random_alpha: bool = False) -> Chosen:
    """What is left of a supernet pruned at initialisation (FreeNAS).

    `random_alpha`: options weigh |1e-3 N(0, 1)| each instead of the same.
    """
    space = bench.space
    if bench.whole:
        raise Refused(unsummed("prune", bench.whole))
    with bench.shown() as watch:
        watch.start("select (prune)", sum(len(d.options) - d.pick for d in space.decisions.values()))
        arch, rows = freenas(
            space,
            cast(tuple[int, ...], space.example),  # of images: what it multiplies has channels
            generator(bench.seed, "prune"),
            random_alpha=random_alpha,
            load=bench.load,
            watch=lambda passes: watch.step(),
        )
    return arch, [scored(row) for row in rows]
