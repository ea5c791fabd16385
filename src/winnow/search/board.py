"""The good paths that a search remembers while it trains (Peng et al. 2020, arXiv:2010.15821)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from winnow.core.architecture import Architecture


@dataclass
class Entry:
    """A path, how good it was (more is better), its MACs, and of some rows what it was given and what it answered."""

    architecture: Architecture
    score: float
    macs: float
    x: Tensor
    answers: Tensor


class Board:
    """The best `size` paths, the best first; of equals the cheaper.

    Once full it takes a path that is better than the worst by more than `lead`, or better and cheaper: the rule of the
    authors' code. A path that is there is not taken twice.
    """

    def __init__(self, size: int, lead: float):
        self.size, self.lead = size, lead
        self.entries: list[Entry] = []

    def __len__(self) -> int:
        return len(self.entries)

    def admits(self, arch: Architecture, score: float, macs: Callable[[Architecture], float]) -> bool:
        """`macs` is asked only where it decides."""
        if any(entry.architecture == arch for entry in self.entries):
            return False
        if len(self.entries) < self.size:
            return True
        worst = self.entries[-1]
        return score > worst.score + self.lead or (score > worst.score and macs(arch) < worst.macs)

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.sort()
        del self.entries[self.size :]

    def sort(self) -> None:
        self.entries.sort(key=lambda entry: (-entry.score, entry.macs))

    def state(self) -> list[dict[str, Any]]:
        return [{**vars(entry), "architecture": dict(entry.architecture)} for entry in self.entries]

    def restore(self, state: list[dict[str, Any]]) -> None:
        self.entries = [Entry(**{**told, "architecture": Architecture.of(told["architecture"])}) for told in state]
