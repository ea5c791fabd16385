"""Open questions about a network, their possible answers, and numbers that follow from them."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

Option = str | int
Value = Option | tuple[Option, ...]  # an option, or several of them in the order of the options


@dataclass(frozen=True)
class Decision:
    """Take `pick` of `options`, or from `least` (0: none) to `pick` of them. Decisions of one name are one decision:
    that is how cells are tied.

    Options in `mixture_only` take part in relaxed mixtures but no architecture may answer with them: DARTS trains with
    `none` and never selects it (Liu et al. 2019, section 2.4).
    """

    name: str  # "normal/2/0": the key in JSON, Optuna, MLflow and error messages; text before "/" names the cell type
    options: tuple[Option, ...]  # smallest first where they have an order
    pick: int = 1
    mixture_only: tuple[Option, ...] = ()
    least: int | None = None  # None: exactly `pick`

    def __post_init__(self) -> None:
        if not self.name or "." in self.name:
            raise ValueError(f"a decision's name is text without a dot, not {self.name!r}")
        for option in self.options:
            if isinstance(option, bool) or not isinstance(option, str | int):
                came = f"{type(option).__name__} {option!r}"
                raise ValueError(f"decision {self.name!r}: an option is text or a whole number, not {came}: write text")
        if len({str(option) for option in self.options}) != len(self.options):
            raise ValueError(f"decision {self.name!r} has equal options: {self.options}")
        if not (self.least != 0) <= self.pick <= len(self.options) - len(self.mixture_only):
            raise ValueError(f"decision {self.name!r} cannot pick {self.pick} of {self.options}")
        if self.least is not None and not 0 <= self.least <= self.pick:
            raise ValueError(f"decision {self.name!r} picks up to {self.pick}, and at least 0: not {self.least}")
        if not set(self.mixture_only) <= set(self.options):
            raise ValueError(f"decision {self.name!r}: {self.mixture_only} are not all among {self.options}")

    @property
    def several(self) -> bool:
        """Whether an answer is a tuple of options rather than one."""
        return self.pick > 1 or self.least is not None

    @cached_property
    def values(self) -> Sequence[Value]:
        """What an architecture may answer: single options, or subsets of them in the order of `options`."""
        selectable = tuple(option for option in self.options if option not in self.mixture_only)
        if self.least is not None:
            return Subsets(selectable, self.least, self.pick)
        return selectable if self.pick == 1 else tuple(itertools.combinations(selectable, self.pick))

    @property
    def group(self) -> str:
        """The cell type that the decision belongs to: "normal" for "normal/2/0", "" for "3<-1"."""
        return self.name.rpartition("/")[0].split("/")[0]

    def within(self, live: Sequence[Option]) -> "Decision":
        """The same question with fewer options. ValueError on one that is none of its own."""
        if foreign := [option for option in live if option not in self.options]:
            raise ValueError(f"decision {self.name!r} has no option {foreign[0]!r}; it has {self.options}")
        options = tuple(option for option in self.options if option in live)
        mixture_only = tuple(option for option in self.mixture_only if option in live)
        pick = self.pick if self.least is None else min(self.pick, len(options) - len(mixture_only))
        return Decision(self.name, options, pick, mixture_only, self.least)


@dataclass(frozen=True)
class Subsets(Sequence[tuple[Option, ...]]):
    """All subsets of `options` with `least` to `most` members: smaller ones first, then in the order of the options.

    Counted and found by their place, never listed: 27 operations have 134 million of them.
    """

    options: tuple[Option, ...]
    least: int
    most: int

    def __len__(self) -> int:
        return sum(math.comb(len(self.options), size) for size in range(self.least, self.most + 1))

    def __getitem__(self, place):  # type: ignore[no-untyped-def]  # int gives a subset, a slice a tuple of them
        if isinstance(place, slice):
            return tuple(self[i] for i in range(*place.indices(len(self))))
        rest = place + len(self) if place < 0 else place
        if not 0 <= rest < len(self):
            raise IndexError(f"there are {len(self)} subsets, no number {place}")
        size = self.least
        while rest >= math.comb(len(self.options), size):
            rest -= math.comb(len(self.options), size)
            size += 1
        return self._of_size(size, rest)

    def _of_size(self, size: int, rest: int) -> tuple[Option, ...]:
        """The subset at place `rest` among those with `size` members: option by option, taken or left."""
        found: list[Option] = []
        for i, option in enumerate(self.options):
            if len(found) == size:
                break
            with_it = math.comb(len(self.options) - i - 1, size - len(found) - 1)
            if rest < with_it:
                found.append(option)
            else:
                rest -= with_it
        return tuple(found)

    def __iter__(self) -> Iterator[tuple[Option, ...]]:
        sizes = range(self.least, self.most + 1)
        return itertools.chain.from_iterable(itertools.combinations(self.options, size) for size in sizes)

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, tuple) or not self.least <= len(value) <= self.most:
            return False
        known = [option for option in self.options if option in value]
        return known == list(value)

    def index(self, value: object, start: int = 0, stop: int | None = None) -> int:
        if value not in self or not isinstance(value, tuple):
            raise ValueError(f"{value!r} is none of the subsets")
        place = sum(math.comb(len(self.options), size) for size in range(self.least, len(value)))
        taken = 0
        for i, option in enumerate(self.options):
            if taken == len(value):
                break
            if option == value[taken]:
                taken += 1
            else:
                place += math.comb(len(self.options) - i - 1, len(value) - taken - 1)
        return place


@dataclass(frozen=True)
class Number:
    """A whole number that follows from decisions: a width, a kernel size. Holes of several layers may share one.

    >>> Number.open("b/ratio", (3, 4, 6)).map(lambda r: 8 * r).values
    (24, 32, 48)
    """

    decisions: tuple[Decision, ...]
    of: Callable[[Mapping[str, Value]], int] = field(compare=False)  # answers to `decisions` → the number

    @classmethod
    def open(cls, name: str, options: tuple[int, ...]) -> "Number":
        """An open one: it is what decision `name` answers."""
        return cls((Decision(name, options),), lambda answers: _whole(answers[name]))

    @classmethod
    def fixed(cls, value: int) -> "Number":
        return cls((), lambda answers: value)

    def map(self, function: Callable[[int], int]) -> "Number":
        """What `function` makes of it."""
        return Number(self.decisions, lambda answers: function(self.of(answers)))

    @cached_property
    def values(self) -> tuple[int, ...]:
        """All that it can be, smallest first."""
        names = [d.name for d in self.decisions]
        answers = itertools.product(*(d.values for d in self.decisions))
        return tuple(sorted({self.of(dict(zip(names, each, strict=True))) for each in answers}))

    @property
    def largest(self) -> int:
        return self.values[-1]


def _whole(value: Value) -> int:
    if not isinstance(value, int):
        raise ValueError(f"a number takes whole numbers for options, not {value!r}")
    return value
