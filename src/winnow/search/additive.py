"""What adds up over the decisions of a space: parts whose answers each add something, whatever the others are."""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.decision import Decision, Option, Value
from winnow.core.errors import Refused
from winnow.core.holes import Choice, Hole
from winnow.core.space import Space
from winnow.search.exact import Group

Numbers = NDArray[np.float64]
MOST = 4096  # answers of decisions that one layer holds together
CHECKED = 16  # random architectures of which sums are held against the truth
CLOSE = 1e-6  # relative: what adds up does so to rounding


@dataclass(frozen=True)
class Part:
    """Decisions that a layer's numbers follow from together, as a block's ratio and kernel; most hold one.

    `answers` are theirs jointly. `after` are the (part, place of an answer) that open it; none: it is always asked.
    """

    name: str
    decisions: tuple[str, ...]
    answers: tuple[tuple[Value, ...], ...]
    after: tuple[tuple[str, int], ...] = ()

    def place(self, arch: Mapping[str, Value]) -> int | None:
        """Which answer `arch` gives; None where it is not asked."""
        if self.decisions[0] not in arch:
            return None
        return self.answers.index(tuple(arch[name] for name in self.decisions))


def parts_of(space: Space) -> list[Part]:
    """The parts of `space`, outer ones first. Refused where a part would be opened in several ways, or be too large."""
    opened: dict[str, set[tuple[str, Option]]] = {name: set() for name in space.decisions}
    for d in space.decisions.values():
        for option in d.options:
            for inner in space.below(d, option):
                opened[inner.name].add((d.name, option))
    held = _held_together(space, opened)
    found: dict[str, Part] = {}

    def made(names: tuple[str, ...]) -> Part:
        name = " ".join(names)
        if name not in found:
            ways = {frozenset(way for way in opened[each] if way[0] not in names) for each in names}
            outer = {d for way in ways for d, _ in way}
            if len(ways) > 1 or len(outer) > 1 or outer & set(names):
                raise Refused(f"{name!r} is opened in several ways, so nothing adds up over it: select with evolution")
            decisions = [space.decisions[each] for each in names]
            if math.prod(len(d.values) for d in decisions) > MOST:
                raise Refused(
                    f"a layer holds {len(names)} decisions together, with more than {MOST:,} answers, so that little "
                    f"adds up: {name[:80]!r}; select with evolution"
                )
            after = _openers(made(held[next(iter(outer))]), set(next(iter(ways)))) if outer else ()
            found[name] = Part(name, names, tuple(itertools.product(*(d.values for d in decisions))), after)
        return found[name]

    for name in space.decisions:
        made(held[name])
    return list(found.values())


def _openers(part: Part, ways: set[tuple[str, Option]]) -> tuple[tuple[str, int], ...]:
    """The answers of `part` under which one of the options in `ways` is taken."""
    ((name, _), *_) = ways
    at, options = part.decisions.index(name), {option for _, option in ways}

    def taken(value: Value) -> bool:
        return any(option in options for option in (value if isinstance(value, tuple) else (value,)))

    return tuple((part.name, i) for i, answer in enumerate(part.answers) if taken(answer[at]))


def _held_together(space: Space, opened: Mapping[str, set[tuple[str, Option]]]) -> dict[str, tuple[str, ...]]:
    """For each decision those that some layer asks with it, itself among them, in the order of the space.

    And with a choice what all of its candidates ask, each in layers of its own: a width adds to each something else.
    """
    together: dict[str, set[str]] = {name: {name} for name in space.decisions}
    for names in [*({d.name for d in hole.decisions} for hole in space.holes), *_asked_by_all(space, opened)]:
        joined = set().union(*(together[name] for name in names if name in together))
        for name in joined:
            together[name] = joined
    return {name: tuple(each for each in space.decisions if each in names) for name, names in together.items()}


def _asked_by_all(space: Space, opened: Mapping[str, set[tuple[str, Option]]]) -> Iterator[set[str]]:
    """Pairs of a choice and of a decision that it opens whatever it answers, in other layers for each candidate."""
    for hole in space.holes:
        if not isinstance(hole, Choice) or hole.decision.name not in space.decisions or hole.decision.several:
            continue
        outer = space.decisions[hole.decision.name]
        for name in space.decisions:
            if opened[name] != {(outer.name, option) for option in outer.options}:
                continue
            asking = [_who_ask(name, candidate) for candidate in hole.kept(outer.options)]
            if any(layers != asking[0] for layers in asking):
                yield {outer.name, name}


def _who_ask(name: str, module: nn.Module) -> set[Hole]:
    return {m for m in module.modules() if isinstance(m, Hole) and any(d.name == name for d in m.decisions)}


def encoded(parts: Sequence[Part], archs: Sequence[Mapping[str, Value]]) -> Numbers:
    """(n, answers of all parts): 1 where an answer is given; parts that are not asked are all 0."""
    starts = np.cumsum([0, *(len(part.answers) for part in parts)])
    x = np.zeros((len(archs), starts[-1]))
    for row, arch in zip(x, archs, strict=True):
        for start, part in zip(starts, parts, strict=False):
            if (place := part.place(arch)) is not None:
                row[start + place] = 1
    return x


def added(
    space: Space, parts: Sequence[Part], value: Callable[[Architecture], Sequence[float]], check: Sequence[Architecture]
) -> tuple[Numbers, list[Numbers]]:
    """What `value` (k,) is of the first answers everywhere, and what each answer of each part adds (answers, k).

    By differences, so that whole numbers stay such. Refused where it does not add up on the architectures `check`.
    """
    by_name = {part.name: part for part in parts}
    known: dict[str, Numbers] = {}

    def at(chosen: dict[str, int]) -> Numbers:
        answers = {
            name: answer
            for part in parts
            for name, answer in zip(part.decisions, part.answers[chosen.get(part.name, 0)], strict=True)
        }
        arch = space.decide(lambda d: answers[d.name])
        if arch.digest not in known:
            known[arch.digest] = np.asarray(value(arch), dtype=float)
        return known[arch.digest]

    def asked(part: Part) -> dict[str, int]:
        """The answers of outer parts with which `part` is asked."""
        chosen: dict[str, int] = {}
        while part.after:
            outer, place = part.after[0]
            chosen[outer] = place
            part = by_name[outer]
        return chosen

    first = at({})
    if not len(first):  # nothing is asked for
        return first, [np.zeros((len(part.answers), 0)) for part in parts]
    each = []
    for part in parts:
        around = asked(part)
        each.append(np.array([at({**around, part.name: i}) - at(around) for i in range(len(part.answers))]))
    for arch in check:
        told = first + sum(a[p] for a, part in zip(each, parts, strict=True) if (p := part.place(arch)) is not None)
        true = np.asarray(value(arch), dtype=float)
        if not np.allclose(told, true, rtol=CLOSE, atol=0):
            raise Refused(
                "sizes do not add up over the decisions of this space (layers are shared, or sizes depend on one "
                "another), so that no exact optimum is known: select with evolution"
            )
    return first, each


@dataclass(frozen=True)
class Sums:
    """Totals (k,) of answers: `first` and what each answer of each part that is asked adds, as of `added`."""

    parts: Sequence[Part]
    each: Sequence[Numbers]
    first: Numbers

    def total(self, answers: Mapping[str, Value]) -> Numbers:
        """Of an architecture, or of answers that hold more than are asked."""
        found = self.first.copy()
        places: dict[str, int] = {}
        for part, adds in zip(self.parts, self.each, strict=True):
            if not part.after or any(places.get(outer) == place for outer, place in part.after):
                place = part.answers.index(tuple(answers[name] for name in part.decisions))
                places[part.name] = place
                found += adds[place]
        return found


def tabulated(space: Space, value: Callable[[Architecture], float], draws: random.Random) -> Callable[..., float]:
    """`value` itself, or the same numbers as sums of a table where they add up: quicker by far."""
    check = distinct(space, draws, CHECKED)
    for arch in check:
        value(arch)  # random ones first: who counts a layer when it is new has met most of them then
    try:
        parts = parts_of(space)
        first, each = added(space, parts, lambda arch: [value(arch)], check)
    except Refused:
        return value
    sums = Sums(parts, each, first)
    return lambda arch: float(sums.total(arch)[0])


def grouped(parts: Sequence[Part], scores: Numbers, costs: Sequence[Numbers]) -> list[Group]:
    """As `exact.optimum` takes them: `scores` (answers of all parts,), `costs` as of `added`."""
    starts = np.cumsum([0, *(len(part.answers) for part in parts)])
    return [
        Group(part.name, tuple(range(len(part.answers))), scores[start : start + len(part.answers)], cost, part.after)
        for start, part, cost in zip(starts, parts, costs, strict=False)
    ]


def architecture(space: Space, parts: Sequence[Part], picks: Mapping[str, Value]) -> Architecture:
    """That of the places that are picked, by the part's name."""
    answers = {
        name: answer
        for part in parts
        if part.name in picks
        for name, answer in zip(part.decisions, part.answers[picks[part.name]], strict=True)  # type: ignore[index]
    }

    def choose(d: Decision) -> Value:
        return answers[d.name]

    return space.decide(choose)
