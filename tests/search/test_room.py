"""search.room: bytes of training, counted by hand."""

import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search import room
from winnow.search.recipe import Recipe
from winnow.search.room import GIB, check_room, needs

WEIGHTS = (3 * 5 + 5) * 4  # bytes of a linear layer
MAPS = 7 * (5 + 5) * 4  # of its output and the choice's, for seven rows


def space() -> Space:
    return Space(nn.Sequential(nn.Linear(3, 5), Choice("a", {"relu": nn.ReLU(), "tanh": nn.Tanh()})))


@pytest.mark.parametrize(
    ("told", "copies"),
    [({"momentum": 0.9}, 2), ({"momentum": 0.0}, 1), ({"optimiser": "adamw", "momentum": 0.0}, 3)],
)
def test_gradients_what_the_optimiser_remembers_and_maps_take_bytes(told, copies):
    assert needs(space(), torch.zeros(7, 3), Recipe(1, 0.1, **told)) == copies * WEIGHTS + MAPS
    assert needs(space(), [1, 2], Recipe(1, 0.1, **told)) == copies * WEIGHTS  # inputs that are no tensor


def test_what_needs_more_than_is_left_is_refused_in_gibibytes(monkeypatch):
    monkeypatch.setattr(room, "needs", lambda *_: 3 * GIB)
    monkeypatch.setattr(room, "left_on", lambda device: 2.5 * GIB)
    sentence = "batches of 7 needs about 3.0 GiB beside the weights, and 2.5 GiB are left on cpu"
    with pytest.raises(Refused, match=sentence):
        check_room(space(), torch.zeros(7, 3), Recipe(1, 0.1))
    monkeypatch.setattr(room, "left_on", lambda device: 3.0 * GIB)
    check_room(space(), torch.zeros(7, 3), Recipe(1, 0.1))


def test_the_largest_of_all_but_of_a_split_the_first():
    """Members that share least need most: they split earliest."""

    def choice(name: str) -> Choice:
        return Choice(name, {i: nn.Identity() for i in (1, 2, 3)})

    made = Space(nn.Sequential(choice("after"), choice("split"), choice("zone")))
    assert dict(made.decide(room._ends(made))) == {"after": 3, "split": 1, "zone": 3}
