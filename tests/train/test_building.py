"""train.building: a user's network begins with what its builder made; layouts are decided in one place."""

import functools
import random

import numpy as np
import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.train.building import arranged, built, fresh, fresh_space, laid, outline

IMAGE = (1, 4, 4)


def build(view: bool = False) -> Space:
    """Weights from every global stream there is, and a constant."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 1)
            self.block = Choice("a", {"x": nn.Conv2d(2, 2, 1), "y": nn.Conv2d(2, 2, 1)})
            self.drawn = (random.random(), float(np.random.rand()))
            self.head = nn.Linear(32, 3)
            nn.init.constant_(self.head.bias, 5.0)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.block(self.conv(x))
            return self.head(x.view(len(x), -1) if view else x.flatten(1)) * sum(self.drawn)

    return Space(Net())


def test_a_child_begins_with_what_was_built_and_differs_by_seed():
    space = outline(build, IMAGE, drawn=False)
    arch = space.decide(lambda d: "y")
    one, two, other = (fresh(space, arch, "cpu", seed) for seed in (1, 1, 2))
    assert torch.equal(one.head.bias, torch.full((3,), 5.0))
    assert one.drawn == two.drawn != other.drawn
    assert torch.equal(one.block.weight, two.block.weight)
    assert not torch.equal(one.block.weight, other.block.weight)
    whole = fresh_space(space, "cpu", 1).model
    assert torch.equal(whole.block.candidates["y"].weight, one.block.weight)


def test_building_leaves_global_streams_alone():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    built(build, IMAGE, 3)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_an_outline_of_winnow_has_no_memory_and_draws_its_values():
    def make() -> Space:
        return Space(nn.Sequential(nn.Linear(4, 4), Choice("a", {"x": nn.Linear(4, 4), "y": nn.ReLU()})))

    space = outline(make, IMAGE, drawn=True)
    assert all(parameter.is_meta for parameter in space.parameters())
    assert fresh(space, space.decide(lambda d: "x"), "cpu", 0)[1].weight.std() > 0


@pytest.mark.parametrize("view", [True, False])
def test_images_are_plain_only_where_a_network_needs_it(view):
    space = outline(functools.partial(build, view), IMAGE, drawn=False)
    child = laid(fresh(space, space.decide(lambda d: "x"), "cpu", 0))
    two = torch.randn(2, *IMAGE).expand(2, 1, 4, 4).contiguous(memory_format=torch.channels_last)
    assert child(two).shape == (2, 3)
    assert bool(child._forward_pre_hooks) == view
    assert child.conv.weight.is_contiguous(memory_format=torch.channels_last) or view


def test_the_supernet_hands_its_layout_to_its_children():
    space = build(view=True)
    arranged(space, IMAGE, [lambda space, x: space(x, {"a": "x"})])
    assert laid(space).derive(space.decide(lambda d: "x"))._forward_pre_hooks
    assert not arranged(build(), IMAGE, [lambda space, x: space(x, {"a": "x"})]).model._forward_pre_hooks


def test_a_lazy_layer_that_nobody_calls_is_named():
    def make() -> Space:
        space = build()
        space.model.spare = nn.LazyLinear(3)
        return space

    with pytest.raises(Refused, match=r"module 'spare' \(LazyLinear\) is lazy and was never called"):
        built(make, IMAGE, 0)
