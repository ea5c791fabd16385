"""The operations of cells while they evolve: active, inherited from good networks, still to come (NSE)."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.core.decision import Decision, Option, Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.codes import one_code
from winnow.search.fronts import front
from winnow.search.looks import looked_at

CLOSED = -2.0  # a fire parameter below which an operation goes: it is on in 12 of 100 codes
TRIES = 20  # draws for each network that is wanted
CHECKED, CLOSE = 16, 1e-6  # random networks that a table of costs is held against, and how well it fits

Cost = Callable[[Architecture], float]


def evolves(d: Decision) -> bool:
    """Whether its options come and go: not where an exact number of several is taken, as of a node's edges."""
    return not d.several or d.least is not None


class Cells:
    """Which options each decision that `evolves` has: up to `keep` active ones, more where more were inherited."""

    def __init__(self, space: Space, keep: int):
        self.space, self.keep = space, keep
        self.whole = {d.name: selectable(d) for d in space.decisions.values() if evolves(d)}
        self.active: dict[str, list[Option]] = {name: [] for name in self.whole}
        self.inherited: dict[str, list[Option]] = {name: [] for name in self.whole}
        self.queue: dict[str, list[Option]] = {name: [] for name in self.whole}

    def state(self) -> dict[str, Any]:
        return {"active": self.active, "inherited": self.inherited, "queue": self.queue}

    def restore(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def view(self) -> Space:
        """Narrowed to the active options."""
        return self.space.within({name: list(d.options) for name, d in self.space.decisions.items()} | self.active)

    def line_up(self, first: int, end: int, draws: random.Random) -> None:
        """The options from place `first` up to `end` are to come, in a random order; of others none does."""
        for name, options in self.whole.items():
            self.queue[name] = draws.sample(options[first:end], len(options[first:end]))

    def refill(self) -> None:
        """Active are what was inherited and the next to come. A cell never has fewer than it needs."""
        for name, own in self.inherited.items():
            fresh = max(self.keep - len(own), 0)
            active = [*own, *self.queue[name][:fresh]]
            del self.queue[name][:fresh]
            if len(active) >= self._least(name):
                self.active[name] = active

    def inherit(self, archs: Iterable[Mapping[str, Value]]) -> None:
        """What any of these networks uses."""
        used: dict[str, set[Option]] = {name: set() for name in self.whole}
        for arch in archs:
            for name in used.keys() & arch.keys():
                value = arch[name]
                used[name] |= set(value if isinstance(value, tuple) else (value,))
        self.inherited = {name: [o for o in options if o in used[name]] for name, options in self.whole.items()}

    def settle(self) -> None:
        """Active is what was inherited, and nothing comes any more."""
        self.queue = {name: [] for name in self.whole}
        self.refill()

    def prune(self, theta: Mapping[str, Tensor]) -> int:
        """Drop what hardly fires, the least first; how many went. What was inherited stays, and two stay of a cell that
        needs one.
        """
        gone = 0
        for name, numbers in looked_at(theta).items():
            at = dict(zip(self.space.decisions[name].options, numbers, strict=True))
            least = 2 * self._least(name)
            for option in sorted(self.active[name], key=lambda option, at=at: at[option]):
                if at[option] < CLOSED and option not in self.inherited[name] and len(self.active[name]) > least:
                    self.active[name].remove(option)
                    gone += 1
        return gone

    def _least(self, name: str) -> int:
        least = self.space.decisions[name].least
        return 1 if least is None else least


def selectable(d: Decision) -> list[Option]:
    return [option for option in d.options if option not in d.mixture_only]


@dataclass(frozen=True)
class Round:
    """Of space `number`, whose options end at place `end` of those of each decision; so many epochs."""

    number: int
    first: int
    end: int
    epochs: int


def rounds_of(
    options: Sequence[int], keep: int, spaces: Sequence[int] | None, rounds: Sequence[int] | None, epochs: int
) -> list[Round]:
    """All rounds of decisions with so many `options`: of each space (n - 1) // (keep - 1), n being all up to its end,
    unless `rounds` says how many. They share the epochs evenly. Refused where lists do not fit, or epochs do not do.
    """
    most = max(options)
    parts = [most] if spaces is None else list(spaces)
    if spaces is not None and set(options) != {sum(parts)}:
        raise Refused(f"spaces takes numbers that add up to the options of every decision, {most}, not {parts}")
    ends = np.cumsum(parts).tolist()
    counts = [max((n - 1) // (keep - 1), 1) for n in ends] if rounds is None else list(rounds)
    if len(counts) != len(parts):
        raise Refused(f"rounds takes one number a space, of which there are {len(parts)}, not {counts}")
    total = sum(counts)
    if epochs < total:
        raise Refused(f"there are {total} rounds, and each takes an epoch or more: epochs is {epochs}; raise it")
    numbers = [number for number, count in enumerate(counts) for _ in range(count)]
    edges = [epochs * i // total for i in range(total + 1)]
    return [
        Round(number, ends[number] - parts[number], ends[number], edges[i + 1] - edges[i])
        for i, number in enumerate(numbers)
    ]


def summed(space: Space, cost: Cost) -> Cost:
    """`cost` as a sum over options, where it is one: quicker by far, and no subset is listed. Else `cost` itself."""
    flat, check = space.decisions, distinct(space, random.Random(0), CHECKED)
    if any(not evolves(d) for d in flat.values()) or any(arch.keys() != flat.keys() for arch in check):
        return cost
    base = Architecture.of({name: d.values[0] for name, d in flat.items()})
    first, known = cost(base), dict[tuple[str, Option], float]()

    def with_(name: str, *options: Option) -> float:
        d = flat[name]
        value = tuple(o for o in d.options if o in options) if d.several else options[0]
        return cost(Architecture.of({**base, name: value}))

    def adds(name: str, option: Option) -> float:
        """What it costs beside others: what it adds to the code of the base, or the base's own to another."""
        if (name, option) not in known:
            d, own = flat[name], _on(base[name])
            if not d.several or d.pick == 1:
                known[name, option] = with_(name, option) - first
            elif option in own:
                other = next(o for o in selectable(d) if o not in own)
                known[name, option] = with_(name, option, other) - with_(name, other)
            else:
                known[name, option] = with_(name, *own, option) - first
        return known[name, option]

    def total(arch: Mapping[str, Value]) -> float:
        return first + sum(
            sum(adds(name, o) for o in _on(value)) - sum(adds(name, o) for o in _on(base[name]))
            for name, value in arch.items()
        )

    same = all(np.isclose(total(arch), cost(arch), rtol=CLOSE, atol=0) for arch in check)
    return total if same else cost


def _on(value: Value) -> tuple[Option, ...]:
    return value if isinstance(value, tuple) else (value,)


def sampled(
    view: Space,
    chances: Mapping[str, Mapping[Option, float]],
    draws: random.Random,
    count: int,
    low: float,
    high: float,
    cost: Cost,
) -> list[Architecture]:
    """Up to `count` different networks that cost more than `low` and less than `high`, by the chances of operations.

    Where these give too few, the rest is by even chances.
    """
    even = {name: dict.fromkeys(chance, 0.5) for name, chance in chances.items()}
    seen: set[str] = set()
    found: list[Architecture] = []
    whole = view.count()
    count = min(count, whole)

    def drawn(d: Decision, chance: Mapping[Option, float] | None) -> Value:
        return draws.choice(d.values) if chance is None else one_code(d, chance, draws)

    for by in (chances, even):
        for _ in range(TRIES * count):
            if len(found) == count or len(seen) == whole:
                break
            arch = view.decide(lambda d, by=by: drawn(d, by.get(d.name)))
            if arch.digest not in seen:
                seen.add(arch.digest)
                if low < cost(arch) < high:
                    found.append(arch)
    return found


@dataclass(frozen=True)
class Judged:
    """A network, what it costs, how good it is, and whether it is one of those a little too cheap."""

    architecture: Architecture
    cost: float
    score: float
    spare: bool = False


def best_of(networks: Sequence[Judged]) -> list[Judged]:
    """Those that none of the others is both as cheap and as good as; of equals the first. Spare ones are looked at, and
    then left out, unless nothing would be left.
    """
    picks = front(np.array([each.cost for each in networks]), np.array([each.score for each in networks])).picks[:, 0]
    kept = [networks[i] for i in picks.tolist() if not networks[i].spare]
    return kept or best_of([each for each in networks if not each.spare])
