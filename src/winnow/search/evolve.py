"""Evolution over architectures under limits."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from winnow.core.architecture import Architecture
from winnow.core.choosers import crossover, mutate, uniform
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.layers import genes, layers_of

Genes = Mapping[str, Value]  # an architecture's answers, and those of decisions beside the ones it reached
TRIES = 1000  # random draws within the limits before giving up


@dataclass(frozen=True)
class Scored:
    """One evaluated architecture: where it came from and what it scored."""

    generation: int
    origin: str  # random, mutation or crossover
    architecture: Architecture
    score: float


def evolution(
    space: Space,
    score: Callable[[Architecture], float],
    *,
    rng: random.Random,
    population: int = 50,
    generations: int = 20,
    parents: int = 10,
    mutation: float = 0.1,
    allowed: Callable[[Architecture], bool] = lambda arch: True,
    rescore: Callable[[list[Scored]], list[Scored]] = lambda scored: scored,
) -> list[Scored]:
    """Every architecture evaluated, best first; the first is the winner, ties go to the one found earlier.

    Generation 0 is random. Each later one has half a population of mutants and half of crossovers of the `parents` best
    so far (in ensembles, with the `genes` of layers out of their reach), filled up with random architectures; none is
    evaluated twice, by its `space.canonical`, or breaks `allowed`. Ends early when the space has nothing new to offer.
    `rescore` is given all that was evaluated before any comparison, for scores that are ranks within a pool. Refused
    where no random architecture is allowed. Source: Guo et al. 2020, section 3.4.
    """
    seen: dict[str, Scored] = {}
    layers = layers_of(space)

    def fresh(generation: int, origin: str, draw: Callable[[], Architecture | None], wanted: int) -> None:
        for _ in range(10 * wanted):  # give up after ten times the quota
            if wanted == 0:
                return
            drawn = draw()
            if drawn is None:
                return
            arch = space.canonical(drawn)
            if arch is not None and arch.digest not in seen and allowed(arch):
                seen[arch.digest] = Scored(generation, origin, arch, score(arch))
                wanted -= 1

    def random_one() -> Architecture | None:
        drawn = (space.canonical(space.decide(uniform(rng))) for _ in range(TRIES))
        return next((arch for arch in drawn if arch is not None and allowed(arch)), None)

    def best() -> list[Scored]:
        return sorted(rescore(list(seen.values())), key=lambda s: -s.score)

    for generation in range(generations + 1):
        before = len(seen)
        if generation:
            top = [genes(layers, s.architecture) for s in best()[:parents]]
            half = population // 2
            fresh(generation, "mutation", lambda top=top: space.decide(mutate(rng.choice(top), rng, mutation)), half)
            fresh(generation, "crossover", lambda top=top: space.decide(crossover(*_two(top, rng), rng)), half)
        missing = population - (len(seen) - before)
        fresh(generation, "random", random_one, missing)
        if not seen:
            raise Refused(
                f"none of {TRIES} random architectures is within the limits: raise those that select sets (max_params, "
                "max_macs, max_bitops, max_latency_ms, max_ram_kib, max_flash_kib)"
            )
        if len(seen) == before:
            break
    return best()


def _two(top: list[Genes], rng: random.Random) -> tuple[Genes, Genes]:
    if len(top) < 2:
        return rng.choice(top), rng.choice(top)
    one, other = rng.sample(top, 2)
    return one, other
