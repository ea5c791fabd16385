"""Functions that answer decisions: what `Space.decide` is called with. All randomness comes from the given `rng`."""

import random
from collections.abc import Callable, Mapping

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.space import Space

Chooser = Callable[[Decision], Value]


def uniform(rng: random.Random) -> Chooser:
    """Each decision on its own, every value with equal probability."""
    return lambda d: rng.choice(d.values)


def mutate(arch: Mapping[str, Value], rng: random.Random, probability: float) -> Chooser:
    """Each answer of `arch` drawn anew with `probability` (it may come out the same), as SPOS mutates genes."""

    def choose(d: Decision) -> Value:
        kept = d.name in arch and arch[d.name] in d.values  # what a wider view answered may be gone
        return arch[d.name] if kept and rng.random() >= probability else rng.choice(d.values)

    return choose


def crossover(a: Mapping[str, Value], b: Mapping[str, Value], rng: random.Random) -> Chooser:
    """Each answer from `a` or `b` with probability one half; what neither reached is drawn uniformly."""

    def choose(d: Decision) -> Value:
        answers = [parent[d.name] for parent in (a, b) if d.name in parent and parent[d.name] in d.values]
        return rng.choice(answers or d.values)

    return choose


def sample(
    space: Space, rng: random.Random, allowed: Callable[[Architecture], bool] = lambda arch: True, tries: int = 1000
) -> Architecture:
    """A uniform architecture that is `allowed`; ValueError after `tries` rejected draws."""
    for _ in range(tries):
        arch = space.canonical(space.decide(uniform(rng)))
        if arch is not None and allowed(arch):
            return arch
    raise ValueError(f"none of {tries} random architectures meets the limits: loosen them")


def distinct(
    space: Space,
    rng: random.Random,
    count: int,
    allowed: Callable[[Architecture], bool] = lambda arch: True,
    tries: int = 20_000,
) -> list[Architecture]:
    """`count` different uniform architectures that are `allowed`, as drawn; fewer where `tries` draws give no more."""
    found: dict[str, Architecture] = {}
    passed: set[str] = set()
    for _ in range(tries):
        if len(found) == count:
            break
        arch = space.canonical(space.decide(uniform(rng)))
        if arch is not None and arch.digest not in passed:
            passed.add(arch.digest)
            if allowed(arch):
                found[arch.digest] = arch
    return list(found.values())
