"""Small spaces."""

import functools

from torch import nn

from tests.trials.scores import OPTIONS
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.trials.search import SpaceSearch


@functools.cache
def space(decisions: int = 4) -> Space:
    return Space(nn.Sequential(*(Choice(f"d{i}", {o: nn.Identity() for o in OPTIONS}) for i in range(decisions))))


def search(decisions: int = 4) -> SpaceSearch:
    return SpaceSearch(space(decisions))


def nested() -> Space:
    """`y/1` is reached where `x` is "deep" alone; `z` takes two of three."""
    inner = Choice("y/1", {1: nn.Identity(), 2: nn.Identity()})
    pair = Choice("z", {o: nn.Identity() for o in range(3)}, pick=2)
    return Space(nn.Sequential(Choice("x", {"deep": inner, "flat": nn.Identity()}), pair))
