"""Selection exact: the best sum over options that keeps all limits at once, by mixed-integer programming."""

from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Positive, Rate, Several
from winnow.predictors.classic import ridge
from winnow.search import measured
from winnow.search.additive import Sums, added, architecture, encoded, grouped, parts_of
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.costs import Costs
from winnow.search.evolve import evolution
from winnow.search.exact import optimum
from winnow.search.selection import selection, unsummed
from winnow.train.seeds import derived, rng

CHECKED = 20  # random architectures on which sizes are seen to add up


def expected(costs: Costs, *, samples: int = 200) -> float:
    return measured.expected(costs, samples + 1)


@selection(
    "children",
    "scores trained children",
    keeps_limits=True,
    sums=True,
    evidence="children",
    seconds=expected,
    trained=True,
)
def by_optimum(
    bench: Bench,
    *,
    samples: Positive = 200,
    seconds: Rate = 60.0,
    population: Several = 50,
    generations: NotNegative = 20,
) -> Chosen:
    """The network of the best sum of options within the limits: exact, or the best of so many `seconds` and its gap.

    What an option adds to the score is the coefficient of a ridge regression on `samples` random networks, judged with
    inherited weights; what it adds to params and MACs is counted. Options of one layer count together (ratio and kernel
    of a block). What evolution of that `population` and `generations` finds under the same sum is told beside. Refused
    where sizes do not add up over decisions, as where layers are shared.
    """
    sums, space = limited(bench, "exact"), bench.space
    parts, known = sums.parts, dict[str, float]()
    with bench.shown() as watch, bench.keeper.piece(known=known):
        watch.start("select (exact)", samples + 1)
        seen = measured.measured(bench, samples, watch, known)
        x, weights = measured.coefficients(parts, seen)
        limits = [most - base for most, base in zip(bench.most.values(), sums.first, strict=True)]
        solved = optimum(grouped(parts, weights, sums.each), limits, seconds)
        best = architecture(space, parts, solved.picks)
        score = bench.known_score(best, known)
        watch.step()
    tau = measured.orders(ridge, x, seen.scores, derived(bench.seed, "exact"))

    def said(arch: Architecture) -> float:
        return float((encoded(parts, [arch]) @ weights)[0])

    try:
        draws = rng(bench.seed, "evolution")
        sizes: dict[str, Any] = {"population": population, "generations": generations}
        evolved = evolution(space, said, rng=draws, allowed=bench.allowed, **sizes)[0].score
        beside = f"evolution under the same sum stays {said(best) - evolved:.3g} below"
    except Refused:
        beside = "evolution finds no network within the limits"
    bench.say(
        f"  the sum of options orders networks that it did not see with tau {tau:.2f}; its optimum is exact to "
        f"{solved.gap:.3g}, and {beside}"
    )
    return best, [*seen.rows(best), evaluated(1, best.digest, score, True)]


def limited(bench: Bench, method: str) -> Sums:
    """What the limited sizes of the bench's networks are sums of. Refused where a limit is on whole networks."""
    if bench.whole:
        raise Refused(unsummed(method, bench.whole))
    parts, names, draws = parts_of(bench.space), list(bench.most), rng(bench.seed, "check")
    check = [bench.space.decide(uniform(draws)) for _ in range(CHECKED)] if names else []
    first, each = added(bench.space, parts, lambda arch: [bench.sizes(arch)[name] for name in names], check)
    return Sums(parts, each, first)
