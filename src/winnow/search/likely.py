"""The architectures that mixture weights make likeliest (SETN)."""

import heapq
import math
import random
from collections.abc import Mapping

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.space import Space


def likeliest(space: Space, weights: Mapping[str, Tensor], count: int, rng: random.Random) -> list[Architecture]:
    """`count` different architectures, likeliest first by the product of their weights (SETN).

    Exact where every architecture answers the same single-option decisions; otherwise `count` draws from the weights,
    subsets uniform. Source: Dong & Yang 2019, arXiv:1910.05733, public code.
    """
    numbers = {name: vector.tolist() for name, vector in weights.items()}
    flat = all(d.pick == 1 and not any(space.below(d, o) for o in d.options) for d in space.decisions.values())
    if flat:
        return [space.decide(lambda d, a=a: a[d.name]) for a in _best_products(space, numbers, count)]
    drawn: dict[str, Architecture] = {}

    def choose(d: Decision) -> Value:
        if d.name not in numbers:
            return rng.choice(d.values)
        return rng.choices(d.values, [numbers[d.name][d.options.index(v)] for v in d.values])[0]

    for _ in range(20 * count):
        arch = space.decide(choose)
        drawn[arch.digest] = arch
        if len(drawn) == count:
            break
    return sorted(drawn.values(), key=lambda arch: -_log_weight(space, numbers, arch))


def _best_products(space: Space, numbers: Mapping[str, list[float]], count: int) -> list[dict[str, str | int]]:
    """Best first: from a choice of ranks, the next ones are those with one rank more."""
    ranked = {
        d.name: sorted(((numbers[d.name][d.options.index(o)], o) for o in d.values), key=lambda pair: -pair[0])
        for d in space.decisions.values()
    }
    names = list(ranked)

    def weight(ranks: tuple[int, ...]) -> float:
        return sum(_log(ranked[name][rank][0]) for name, rank in zip(names, ranks, strict=True))

    start = (0,) * len(names)
    queue, seen, found = [(-weight(start), start)], {start}, []
    while queue and len(found) < count:
        _, ranks = heapq.heappop(queue)
        found.append({name: ranked[name][rank][1] for name, rank in zip(names, ranks, strict=True)})
        for i, name in enumerate(names):
            following = (*ranks[:i], ranks[i] + 1, *ranks[i + 1 :])
            if following[i] < len(ranked[name]) and following not in seen:
                seen.add(following)
                heapq.heappush(queue, (-weight(following), following))
    return found


def _log_weight(space: Space, numbers: Mapping[str, list[float]], arch: Architecture) -> float:
    options = {name: space.decisions[name].options for name in numbers}
    return sum(_log(numbers[name][options[name].index(arch[name])]) for name in numbers if name in arch)


def _log(weight: float) -> float:
    return math.log(weight) if weight > 0 else -math.inf
