"""Selection shortlist: the best of those that did well while the supernet was trained, judged anew (Cream)."""

from winnow.core.errors import Refused
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.costs import Costs
from winnow.search.selection import selection


def expected(costs: Costs) -> float:
    """Seconds of ten children: how long a list is, only the search can tell."""
    return 10 * (costs.judged + costs.calibration) * costs.child_row()


@selection("shortlist", "judges what a search kept in mind", keeps_limits=True, evidence="children", seconds=expected)
def by_shortlist(bench: Bench) -> Chosen:
    """The best child, by inherited weights and statistics of its own, of the search's shortlist within the limits.

    Peng et al. 2020 take the best of their board as it stands, by the images it was trained on. Refused where none of
    the list is within the limits.
    """
    listed = bench.needed("shortlist")
    within = [arch for arch in listed if bench.allowed(arch)]
    if not within:
        raise Refused(
            f"none of the {len(listed)} architectures on the search's shortlist is within the limits "
            f"({bench.limits}): loosen these, or select with evolution"
        )
    known: dict[str, float] = {}
    with bench.shown() as watch, bench.keeper.piece(known=known):
        watch.start("select (shortlist)", len(within))
        for arch in within:
            bench.known_score(arch, known)
            watch.step()
    best = max(within, key=lambda arch: known[arch.digest])
    return best, [evaluated(rank, arch.digest, known[arch.digest], arch is best) for rank, arch in enumerate(within)]
