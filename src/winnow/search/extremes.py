"""The cheapest and the dearest architecture of a space, without trying them all."""

from collections.abc import Callable, Sequence

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Option, Value
from winnow.core.space import Space

Price = Callable[[Architecture], float]


def cheapest(space: Space, price: Price) -> Architecture:
    """An architecture of the lowest `price`: values of one decision are tried while the others stay, inner ones first.

    Exact where prices add up, as params and MACs do: an answer then costs the same whatever the others are. Where they
    do not (candidates that share weights), rounds go on until nothing gets cheaper, which may end beside the lowest.
    """
    outer: dict[str, tuple[str, Value]] = {}
    for d in space.decisions.values():
        for value in _singles(d) if _any(d) else d.values:
            for option in value if isinstance(value, tuple) else (value,):
                for inner in space.below(d, option):
                    outer.setdefault(inner.name, (d.name, value))
    answers: dict[str, Value] = {d.name: d.values[0] for d in space.decisions.values()}
    known: dict[str, float] = {}

    def answered(d: Decision, value: Value) -> Architecture:
        """The present answers with `value` for `d`, and those that `d` needs to be reached."""
        asked = {**answers, d.name: value}
        name = d.name
        while name in outer:
            name, asked[name] = outer[name]
        return space.decide(lambda each: asked[each.name])

    def priced(arch: Architecture) -> float:
        if arch.digest not in known:
            known[arch.digest] = price(arch)
        return known[arch.digest]

    def present() -> Architecture:
        return space.decide(lambda each: answers[each.name])

    best, lowest = present(), priced(present())
    while True:
        for d in reversed(space.decisions.values()):
            price_of = lambda value, d=d: priced(answered(d, value))  # noqa: E731
            answers[d.name] = min(_worth_trying(d, price_of), key=price_of)
        if priced(present()) >= lowest:
            return best
        best, lowest = present(), priced(present())


def _any(d: Decision) -> bool:
    """Whether it takes any number of options from one or none: it may have too many subsets to list."""
    return d.least is not None and d.least <= 1


def _singles(d: Decision) -> list[tuple[Option, ...]]:
    return [(option,) for option in d.options if (option,) in d.values]


def _worth_trying(d: Decision, price: Callable[[Value], float]) -> Sequence[Value]:
    """All values; of any number of options the cheapest one, two, ..., of which one is cheapest where prices add up."""
    if not _any(d):
        return d.values
    order = [option for (option,) in sorted(_singles(d), key=price)]
    first = [()] if d.least == 0 else []
    return [*first, *(tuple(o for o in d.options if o in order[:size]) for size in range(1, d.pick + 1))]


def dearest(space: Space, price: Price) -> Architecture:
    """An architecture of the highest `price`, likewise."""
    return cheapest(space, lambda arch: -price(arch))
