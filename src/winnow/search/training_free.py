"""Search by scores of untrained networks: the best of a random sample, evolution, or a pruned supernet.

Each returns an architecture and its evidence, as the selections of `winnow.search.selections` do. With several proxies,
what is compared is the log-rank sum of AZ-NAS over everything scored so far: parents are chosen among all of it, and
ranks within different pools, such as generations, do not compare. Pruning is `winnow.search.freenas.freenas`.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.proxies import proxy
from winnow.proxies.aggregate import AGGREGATES, log_rank
from winnow.proxies.common import Batch
from winnow.proxies.scorer import check_names, scorer_of
from winnow.search.evolve import Scored, evolution
from winnow.train.seeds import derived, generator

Load = Callable[[Architecture], float]  # the share of its limits that an architecture takes; within them up to 1


@dataclass(frozen=True)
class Evidence:
    """One architecture scored, best first. `option` is its digest; `score` is comparable within this list only.

    `values` are the proxies as they are, NaN where one has none, for the `reason` given; those rank last.
    """

    event: int  # generation
    option: str
    score: float
    kept: bool
    architecture: Architecture
    values: Mapping[str, float]
    reason: str = ""
    decision: str = ""


@dataclass
class Judge:
    """Scores an architecture by proxies, each once, and compares all that it has scored."""

    score: Callable[[Architecture], tuple[Mapping[str, float], str]]  # values by proxy, and why one is missing
    directions: Mapping[str, int]
    seen: dict[str, tuple[Mapping[str, float], str]] = field(default_factory=dict)
    before: Callable[[], None] = lambda: None  # each scoring

    def __call__(self, arch: Architecture) -> float:
        """Scored; what it is worth depends on the others, see `compare`."""
        if arch.digest not in self.seen:
            self.before()
            self.seen[arch.digest] = self.score(arch)
        return math.nan

    def compare(self, scored: list[Scored]) -> list[Scored]:
        """With one proxy its value, large being good; with several the log-rank sum over `scored`."""
        rows = [self.seen[each.architecture.digest][0] for each in scored]
        columns = {name: [row[name] for row in rows] for name in self.directions}
        if len(columns) == 1:
            ((name, column),) = columns.items()
            totals = [-math.inf if math.isnan(v) else self.directions[name] * v for v in column]
        else:
            totals = log_rank(columns, self.directions).score.tolist()
        return [replace(each, score=total) for each, total in zip(scored, totals, strict=True)]


def proxy_judge(space: Space, names: Sequence[str], batch: Batch, seed: int) -> Judge:
    """By proxies of the children with the weights that `space` has, AZ-NAS' with one drawing for all; same random
    numbers for every child.

    The name of an aggregate ("az_nas", "quintet") stands for its proxies. A proxy that refuses a child has no value for
    it. Refused for unknown names, and for labels that are not there.
    """
    names = list(dict.fromkeys(part for name in names for part in AGGREGATES.get(name, (name,))))
    check_names(names, batch)
    score_all = scorer_of(space, names, batch, partial(generator, derived(seed, "training_free")))

    def scores(arch: Architecture) -> tuple[dict[str, float], str]:
        (row,) = score_all([arch])
        return {name: row[name] for name in names}, row["reason"]

    return Judge(scores, {name: proxy(name).direction for name in names})


def limits(size: Callable[[Architecture], Mapping[str, float]], **most: float | None) -> Load:
    """The largest share of the limits `most` (params, macs) that are set; `size` as of `proxies.sizes.sizes_of`."""
    given = {name: limit for name, limit in most.items() if limit}

    def load(arch: Architecture) -> float:
        found = size(arch) if given else {}
        return max((found[name] / limit for name, limit in given.items()), default=0.0)

    return load


def evolved(
    space: Space,
    judge: Judge,
    rng: random.Random,
    *,
    population: int = 50,
    generations: int = 20,
    parents: int = 10,
    mutation: float = 0.1,
    load: Load = lambda arch: 0.0,
) -> tuple[Architecture, list[Evidence]]:
    """Evolution as `winnow.search.evolve` has it, for what `judge` prefers. Refused where limits allow nothing.

    Also where no architecture has a value by any proxy.
    """
    ranked = evolution(
        space,
        judge,
        rng=rng,
        population=population,
        generations=generations,
        parents=parents,
        mutation=mutation,
        allowed=lambda arch: load(arch) <= 1,
        rescore=judge.compare,
    )
    rows = []
    for place, each in enumerate(ranked):
        values, reason = judge.seen[each.architecture.digest]
        arch = each.architecture
        rows.append(Evidence(each.generation, arch.digest, each.score, place == 0, arch, values, reason))
    if all(math.isnan(value) for value in rows[0].values.values()):
        raise Refused(f"no architecture has a score: {rows[0].reason}")
    return rows[0].architecture, rows


def sampled(
    space: Space, judge: Judge, rng: random.Random, *, samples: int = 1000, load: Load = lambda arch: 0.0
) -> tuple[Architecture, list[Evidence]]:
    """The best of so many different random architectures within the limits: evolution that ends where it begins."""
    return evolved(space, judge, rng, population=samples, generations=0, load=load)
