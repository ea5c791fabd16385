"""holes/sorting: channels by importance. What the network and its smaller selves compute stays what it was."""

import pytest
import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.holes.elastic import Conv, Elastic, Linear, Norm
from winnow.holes.sorting import sort_channels
from winnow.spaces.ofa import ofa
from winnow.train.seeds import seeded


@pytest.fixture
def space() -> Space:
    """Small, in float64, its statistics and affine parameters drawn, and matrices that are no identities."""
    with seeded(0):
        space = ofa(0.5, kernels=(3, 5), depths=(1, 2), image_size=8, classes=3).double().eval()
        for name, tensor in space.state_dict().items():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "running" in name else tensor.add_(0.05 * torch.randn_like(tensor))
    return space


def answer(space: Space, ratio: int, x: torch.Tensor) -> torch.Tensor:
    return space(x, space.decide(lambda d: ratio if d.name.endswith("ratio") else d.values[-1]))


def projections(space: Space) -> list[torch.Tensor]:
    """The weights that read a block's middle last."""
    blocks = [block for hole in space.holes if hasattr(hole, "chain") for block in hole.chain]
    layers = [next(m for m in reversed(list(block.modules())) if isinstance(m, Conv)) for block in blocks]
    return [layer.whole.weight for layer in layers]


def test_the_full_network_stays_and_its_channels_descend(space):
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before, small = answer(space, 6, x), answer(space, 3, x)
        sort_channels(space.within({name: (6,) for name in space.decisions if name.endswith("ratio")}))
        torch.testing.assert_close(answer(space, 6, x), before, rtol=0, atol=1e-9)
        assert not torch.allclose(answer(space, 3, x), small, atol=1e-3), "the smaller ones take other channels now"
        for weight in projections(space):
            assert (weight.abs().sum((0, 2, 3)).diff() <= 0).all()
        again = {name: tensor.clone() for name, tensor in space.state_dict().items()}
        sort_channels(space.within({name: (6,) for name in space.decisions if name.endswith("ratio")}))
    assert all(torch.equal(tensor, again[name]) for name, tensor in space.state_dict().items())


def test_networks_of_the_view_stay_too_as_channels_move_between_its_widths_only(space):
    view = space.within({name: (4, 6) for name in space.decisions if name.endswith("ratio")})
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        before = {ratio: answer(space, ratio, x) for ratio in (3, 4, 6)}
        sort_channels(view)
        for ratio in (4, 6):
            torch.testing.assert_close(answer(space, ratio, x), before[ratio], rtol=0, atol=1e-9)
        assert not torch.allclose(answer(space, 3, x), before[3], atol=1e-3)
    weight = projections(space)[1].abs().sum((0, 2, 3))  # unit 1, block 2: from 16 channels, 64 or 96
    assert (weight[:64].diff() <= 0).all()
    assert (weight[64:].diff() <= 0).all()


def test_linear_layers_and_biases_move_and_what_nothing_reads_does_not():
    width, out = Number.open("width", (1, 4)), Number.open("out", (1, 2))
    with seeded(0):
        space = Space(nn.Sequential(Linear(3, width), nn.ReLU(), Linear(width, out)))
    x, largest = torch.randn(5, 3), space.decide(lambda d: d.values[-1])
    before, head = space(x, largest), space.model[2].whole.bias.clone()
    sort_channels(space.within({"width": (4,)}))
    torch.testing.assert_close(space(x, largest), before)
    assert (space.model[2].whole.weight.abs().sum(0).diff() <= 0).all()
    assert torch.equal(space.model[2].whole.bias, head)


def test_a_layer_of_another_kind_is_refused_by_its_name():
    class Scale(Elastic):
        pass

    with pytest.raises(Refused, match="channels of Scale cannot be sorted"):
        sort_channels(Space(nn.Sequential(Norm(2), Scale(c=Number.open("c", (1, 2))))))
