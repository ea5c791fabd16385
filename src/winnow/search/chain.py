"""A search in several steps: each hands its space on, with its weights and no wider than it left it."""

from collections.abc import Callable, Sequence

from winnow.core.space import Space
from winnow.search.bench import Found
from winnow.train.checkpoint import Keeper


def chain(space: Space, steps: Sequence[Callable[[Space], Found]], keeper: Keeper) -> Found:
    """What the last of `steps` found, each of which searches the space that the one before it returned.

    A step returns the space that it was given or a view of it (`Space.within`). ValueError for another.
    """
    live: dict[str, list[str | int]] = {}
    found = Found(space)
    for number in keeper.rounds(len(steps), "step", space=space, live=live):
        found = steps[number](space.within(live) if live else space)
        if found.space.model is not space.model:
            raise ValueError(f"step {number} returned another network than the one that it was given")
        live.clear()
        live.update(narrowed(found.space))
    return found


def narrowed(space: Space) -> dict[str, list[str | int]]:
    """The decisions of a view that have fewer options than the whole space gives them, with those that are left."""
    return {name: list(d.options) for name, d in space.decisions.items() if d != space.whole[name]}
