"""Numbers in a network's code that follow the channels of a layer."""

import pytest
import torch
from torch import nn

from winnow.core.decision import Decision
from winnow.core.space import Space
from winnow.holes.counted import Counted, Told
from winnow.holes.cut import Axis

WIDTH = Decision("width", (1, 2, 3))
AXIS = Axis(("width", "width", None, "width", "width"), (0, 2, 0, 1, 0))  # one place always stays


class Views(nn.Module):
    """Rows of as many numbers as the counter says."""

    def __init__(self, count: Counted):
        super().__init__()
        self.count = count

    def forward(self, x):
        return x.view(-1, self.count())


@pytest.mark.parametrize(("width", "places"), [(1, 3), (2, 4), (3, 5)])
def test_it_returns_how_many_places_remain(width, places):
    space = Space(nn.Sequential(Views(Counted([WIDTH], AXIS))))
    x = torch.zeros(2 * places)
    assert space(x, {"width": width}).shape == (2, places)
    child = space.derive({"width": width})
    assert child(x).shape == (2, places)
    assert isinstance(child[0].count, Told)
    assert child[0].count() == child[0].count.number == places


def test_an_axis_of_two_decisions_asks_both():
    other = Decision("other", (1, 2))
    hole = Counted([WIDTH, other], Axis(("width", "other", "other"), (2, 0, 1)))
    space = Space(nn.Sequential(Views(hole)))
    assert set(space.decisions) == {"width", "other"}
    found = {(w, o): space.derive({"width": w, "other": o})[0].count() for w in (1, 3) for o in (1, 2)}
    assert found == {(1, 1): 1, (1, 2): 2, (3, 1): 2, (3, 2): 3}


@pytest.mark.parametrize("training", [True, False])
def test_what_is_told_has_the_mode_of_the_hole(training):
    hole = Counted([WIDTH], AXIS).train(training)
    assert hole.settled({"width": 1}).training is training
