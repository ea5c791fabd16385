"""The hierarchical proxy strategy of EcoNAS: only promising networks are trained longer (Zhou et al. 2020).

arXiv:2001.01233; what the paper leaves open is read as its authors' code has it. A network has a *level*, the segments
of its training that are done, and lives in the population of that level. In each cycle the best of a population go on
to the next level, and mutated children of all populations begin at level 1. `hierarchy.py` makes trials of it.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.core.errors import Refused


@dataclass(frozen=True)
class Settings:
    """A cycle continues the best `continued[l]` of level l + 1 and makes `parents[l]` children of its members.

    Whoever was not trained for `age` cycles leaves its population. A segment takes `segment` epochs.
    """

    initial: int = 16
    continued: Sequence[int] = (8, 4)
    parents: Sequence[int] = (6, 5, 5)
    age: int = 10
    segment: int = 20

    def __post_init__(self) -> None:
        if len(self.continued) != len(self.parents) - 1:
            raise Refused(
                f"continued has a number for each level but the last, and parents one for each: not "
                f"{len(self.continued)} and {len(self.parents)}"
            )


@dataclass(frozen=True)
class Network:
    """A network that is being searched with: its newest segment is trial `number`. `fitness` is its best so far."""

    number: int
    parameters: Mapping[str, Any]
    level: int
    fitness: tuple[float, float]
    cycle: int  # in which it was trained last


@dataclass(frozen=True)
class Slot:
    """One segment of a cycle: `network` goes on, or a child of `among` begins; a random one where that is empty."""

    network: Network | None = None
    among: Sequence[Network] = ()


def populations(found: Sequence[Network], cycle: int, settings: Settings) -> list[list[Network]]:
    """The networks that live when `cycle` begins, by level."""
    living = [network for network in found if cycle - network.cycle < settings.age]
    return [[n for n in living if n.level == level] for level in range(1, len(settings.parents) + 1)]


def slots(living: Sequence[Sequence[Network]], settings: Settings) -> list[Slot]:
    """What a cycle trains: who goes on, the better first, then children, level by level. Random ones if nobody lives.

    A population that is empty has no children. Who goes on is a parent at its old level.
    """
    found = []
    for members, count in zip(living, settings.continued, strict=False):
        ranked = sorted(members, key=lambda network: network.fitness, reverse=True)  # the earlier of equals
        found += [Slot(network) for network in ranked[:count]]
    for members, count in zip(living, settings.parents, strict=True):
        found += [Slot(among=members)] * (count if members else 0)
    return found or [Slot()] * settings.initial


def segments(cycles: int, settings: Settings) -> int:
    """How many segments the random networks and `cycles` cycles take where every one completes.

    Counted with networks that are all worth the same. Who wins changes it only where populations run short.
    """
    found: dict[int, Network] = {}
    count = 0
    for cycle in range(cycles + 1):
        for slot in slots(populations(list(found.values()), cycle, settings), settings):
            level = 1 if slot.network is None else found.pop(slot.network.number).level + 1
            found[count] = Network(count, {}, level, (0.0, 0.0), cycle)
            count += 1
    return count


def tournament(members: Sequence[Network], rng: random.Random) -> Network:
    """The best of a quarter of the members and one, drawn with replacement."""
    drawn = [rng.choice(members) for _ in range(len(members) // 4 + 1)]
    return max(drawn, key=lambda network: network.fitness)
