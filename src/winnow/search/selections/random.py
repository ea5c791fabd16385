"""Selection random: the best of random untrained networks within the limits, by the proxies."""

from dataclasses import replace

from winnow.core.options import Positive
from winnow.search.bench import Bench, Chosen, scored
from winnow.search.costs import Costs
from winnow.search.selection import selection
from winnow.search.training_free import Evidence, Judge, sampled
from winnow.train.seeds import rng
from winnow.train.watch import Watch


def expected(costs: Costs, *, samples: int = 100) -> float:
    return samples * (costs.score or 0.0)


@selection("initialised", "scores untrained children", keeps_limits=True, evidence="children", seconds=expected)
def by_sampling(bench: Bench, *, samples: Positive = 100) -> Chosen:
    """The best by the proxies of so many random `samples` within the limits."""
    with bench.shown() as watch:
        watch.start("select (random)", samples)
        judge = counted(bench, watch)
        with bench.keeper.piece(seen=judge.seen):
            draws, load = rng(bench.seed, "random"), bench.load or (lambda arch: 0.0)
            arch, found = sampled(bench.space, judge, draws, samples=samples, load=load)
    return arch, [scored(row) for row in told(bench, found)]


def counted(bench: Bench, watch: Watch) -> Judge:
    """The judge of untrained networks, which shows each that it scores and may be left before any."""

    def before() -> None:
        bench.keeper.due()
        watch.step()

    return replace(bench.needed("scorer")(), before=before)


def told(bench: Bench, rows: list[Evidence]) -> list[Evidence]:
    """`rows`, after saying how many lack a score by some proxy."""
    if missing := [row for row in rows if row.reason]:
        bench.say(f"  {len(missing)} of {len(rows)} have no score by some proxy and rank last: {missing[0].reason}")
    return rows
