"""Selection likeliest: the best of those that mixture weights make likeliest (SETN)."""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.costs import Costs
from winnow.search.selection import selection
from winnow.train.seeds import rng

TRIES = 1000  # architectures looked at, or twenty for each that is asked for where that is more


def expected(costs: Costs, *, count: int = 20) -> float:
    return count * costs.judged * costs.child_row()


@selection("distribution", "judges children that trained logits make likely", keeps_limits=True, seconds=expected)
def by_likelihood(bench: Bench, *, count: Positive = 20) -> Chosen:
    """The best by inherited weights of the `count` likeliest within the limits; of equals the likelier (SETN).

    Published: 100 and 1,000.
    """
    architectures = likeliest(bench.space, bench.weights(), count, rng(bench.seed, "likeliest"), bench.allowed)
    known: dict[str, float] = {}
    with bench.shown() as watch, bench.keeper.piece(known=known):
        watch.start("select (likeliest)", len(architectures))
        scores = []
        for arch in architectures:
            scores.append(bench.known_score(arch, known))
            watch.step()
    winner = max(range(len(scores)), key=scores.__getitem__)
    rows = [evaluated(rank, arch.digest, scores[rank], rank == winner) for rank, arch in enumerate(architectures)]
    return architectures[winner], rows


def likeliest(
    space: Space,
    weights: Mapping[str, Tensor],
    count: int,
    rng: random.Random,
    allowed: Callable[[Architecture], bool] = lambda arch: True,
) -> list[Architecture]:
    """`count` different architectures that are `allowed`, likeliest first by the product of their weights (SETN).

    Exact where every architecture answers the same single-option decisions; otherwise `count` draws from the weights,
    subsets uniform. Fewer where so many are not found; Refused where none is. Source: Dong & Yang 2019,
    arXiv:1910.05733, public code.
    """
    numbers = {name: vector.tolist() for name, vector in weights.items()}
    flat = all(not d.several and not any(space.below(d, o) for o in d.options) for d in space.decisions.values())
    tries = max(TRIES, 20 * count)
    if flat:
        ranked = (space.decide(lambda d, a=a: a[d.name]) for a in _best_products(space, numbers, tries))
        return _some(itertools.islice(filter(allowed, ranked), count), tries)
    drawn: dict[str, Architecture] = {}

    def choose(d: Decision) -> Value:
        if d.name not in numbers:
            return rng.choice(d.values)
        return rng.choices(d.values, [numbers[d.name][d.options.index(v)] for v in d.values])[0]

    for _ in range(tries):
        arch = space.decide(choose)
        if arch.digest not in drawn and allowed(arch):
            drawn[arch.digest] = arch
        if len(drawn) == count:
            break
    return _some(sorted(drawn.values(), key=lambda arch: -_log_weight(space, numbers, arch)), tries)


def _some(found: Iterable[Architecture], tries: int) -> list[Architecture]:
    if architectures := list(found):
        return architectures
    raise Refused(
        f"none of the {tries} likeliest architectures is within the limits: raise those that select sets (max_params, "
        "max_macs, max_bitops, max_latency_ms, max_ram_kib, max_flash_kib), or select with evolution"
    )


def _best_products(space: Space, numbers: Mapping[str, list[float]], count: int) -> Iterator[dict[str, Value]]:
    """The first `count`, best first: from a choice of ranks, the next ones are those with one rank more."""
    ranked = {
        d.name: sorted(((numbers[d.name][d.options.index(o)], o) for o in d.values), key=lambda pair: -pair[0])
        for d in space.decisions.values()
    }
    names = list(ranked)

    def weight(ranks: tuple[int, ...]) -> float:
        return sum(_log(ranked[name][rank][0]) for name, rank in zip(names, ranks, strict=True))

    start = (0,) * len(names)
    queue, seen = [(-weight(start), start)], {start}
    for _ in range(count):
        if not queue:
            return
        _, ranks = heapq.heappop(queue)
        yield {name: ranked[name][rank][1] for name, rank in zip(names, ranks, strict=True)}
        for i, name in enumerate(names):
            following = (*ranks[:i], ranks[i] + 1, *ranks[i + 1 :])
            if following[i] < len(ranked[name]) and following not in seen:
                seen.add(following)
                heapq.heappush(queue, (-weight(following), following))


def _log_weight(space: Space, numbers: Mapping[str, list[float]], arch: Architecture) -> float:
    options = {name: space.decisions[name].options for name in numbers}
    return sum(_log(numbers[name][options[name].index(arch[name])]) for name in numbers if name in arch)


def _log(weight: float) -> float:
    return math.log(weight) if weight > 0 else -math.inf
