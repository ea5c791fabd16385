"""Benches that judge nothing: scores are told, steps are counted."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.train.watch import Watch


def numbers(names: str = "abc", count: int = 4) -> Space:
    """Decisions called by single letters, each of the options 0, 1, ... that compute nothing."""
    return Space(nn.Sequential(*(Choice(name, {i: nn.Identity() for i in range(count)}) for name in names)))


@dataclass(frozen=True)
class Told(Bench):
    """A bench whose `truth` is a network's score; `asked` are those that it was asked for."""

    truth: Callable[[Architecture], float] = lambda arch: 0.0
    asked: list[Architecture] = field(default_factory=list)

    def score(self, arch: Architecture) -> float:
        self.asked.append(arch)
        return self.truth(arch)


class Counting(Watch):
    """Keeps what is begun, with how many steps, and each step, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int] | int] = []

    def start(self, label: str, steps: int) -> None:
        self.told.append((label, steps))

    def step(self, steps: int = 1) -> None:
        self.told.append(steps)

    def shown(self) -> contextlib.AbstractContextManager[Watch]:
        """As a bench takes it."""
        return contextlib.nullcontext(self)
