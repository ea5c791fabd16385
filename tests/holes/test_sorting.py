"""holes/sorting: channels by importance. What the network and its smaller selves compute stays what it was."""

import pytest
import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.holes.elastic import Conv, Elastic, Linear, Norm
from winnow.holes.sorting import check_sortable, sort_channels
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
    held = Scale(c=Number.open("c", (1, 2)))
    held.whole = nn.PReLU(2)
    with pytest.raises(Refused, match=r"channels of PReLU cannot be sorted, .*leave them as they are"):
        check_sortable(Space(nn.Sequential(held)))


def chain(width: Number, *, reads: list[float], more: list[float] | None = None) -> Space:
    """Channels that are 0, 1, 2, 3 in their order, and a layer whose columns have these norms; perhaps one before."""
    layers = [Linear(1, width), Norm(width), *([] if more is None else [Linear(width, 1)]), Linear(width, 2)]
    space = Space(nn.Sequential(*layers))
    with torch.no_grad():
        layers[0].whole.weight.copy_(torch.arange(4.0)[:, None])
        layers[0].whole.bias.copy_(10 * torch.arange(4.0))
        for i, name in enumerate(("weight", "bias", "running_mean", "running_var")):
            getattr(layers[1].whole, name).copy_(torch.arange(4.0) + 100 * i)
        last = torch.tensor(reads)
        layers[-1].whole.weight.copy_(torch.stack([0.25 * last, -0.75 * last]))
        if more is not None:
            layers[2].whole.weight.copy_(torch.tensor([more]))
    return space


@pytest.mark.parametrize(
    ("options", "live", "reads", "order"),
    [
        ((2, 4), (4,), [1.0, 3.0, 2.0, 4.0], [3, 1, 2, 0]),
        ((2, 4), (2, 4), [1.0, 3.0, 2.0, 4.0], [1, 0, 3, 2]),
        ((2, 4), (2,), [1.0, 3.0, 2.0, 4.0], [1, 0, 3, 2]),
        ((1, 3, 4), (1, 4), [1.0, 3.0, 2.0, 4.0], [0, 3, 1, 2]),
        ((1, 3, 4), (1, 3, 4), [1.0, 2.0, 3.0, 4.0], [0, 2, 1, 3]),
        ((2, 4), (4,), [1.0, -3.0, 2.0, -4.0], [3, 1, 2, 0]),
        ((2, 4), (4,), [2.0, 1.0, 2.0, 1.0], [0, 2, 1, 3]),
        ((2, 4), (4,), [4.0, 3.0, 2.0, 1.0], [0, 1, 2, 3]),
    ],
)
def test_all_that_lies_along_the_channels_moves_by_the_norms_of_their_reader(options, live, reads, order):
    space = chain(Number.open("width", options), reads=reads)
    head = space.model[2].whole.bias.clone()
    sort_channels(space.within({"width": live}))
    found = torch.tensor(order).float()
    first, norm, last = (layer.whole for layer in space.model)
    assert first.weight[:, 0].tolist() == order
    assert torch.equal(first.bias, 10 * found)
    for i, name in enumerate(("weight", "bias", "running_mean", "running_var")):
        assert torch.equal(getattr(norm, name), found + 100 * i)
    assert last.weight[0].tolist() == [0.25 * reads[i] for i in order]
    assert last.weight[1].tolist() == [-0.75 * reads[i] for i in order]
    assert torch.equal(last.bias, head)


def test_the_last_layer_to_read_a_channel_says_its_importance():
    space = chain(Number.open("width", (2, 4)), reads=[1.0, 3.0, 2.0, 4.0], more=[9.0, 1.0, 5.0, 2.0])
    sort_channels(space.within({"width": (4,)}))
    assert space.model[0].whole.weight[:, 0].tolist() == [3, 1, 2, 0]
    assert space.model[2].whole.weight.tolist() == [[2, 1, 5, 9]]


def test_a_width_that_nothing_reads_and_one_that_is_fixed_stay():
    width = Number.open("width", (2, 4))
    with seeded(0):
        space = Space(nn.Sequential(Linear(3, 4), Linear(4, width), Norm(width), Linear(4, 5)))
    before = {name: tensor.clone() for name, tensor in space.state_dict().items()}
    sort_channels(space)
    assert all(torch.equal(tensor, before[name]) for name, tensor in space.state_dict().items())
    check_sortable(space)


def test_a_depthwise_kernel_moves_with_its_channels_and_reads_none():
    width = Number.open("width", (1, 3))
    space = Space(nn.Sequential(Conv(1, width), Conv(width, width, 3, depthwise=True, bias=True), Conv(width, 1)))
    first, filters, last = (layer.whole for layer in space.model)
    with torch.no_grad():
        first.weight.copy_(torch.arange(3.0).view(3, 1, 1, 1))
        filters.weight.copy_(torch.tensor([100.0, 0.0, 1.0]).view(3, 1, 1, 1).expand(3, 1, 3, 3))
        filters.bias.copy_(torch.tensor([5.0, 6.0, 7.0]))
        last.weight.copy_(torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1))
    sort_channels(space.within({"width": (3,)}))
    assert first.weight.flatten().tolist() == [2, 1, 0]
    assert filters.weight[:, 0, 0, 0].tolist() == [1, 0, 100]
    assert filters.bias.tolist() == [7, 6, 5]
    assert last.weight.flatten().tolist() == [3, 2, 1]
    alone = Space(nn.Sequential(Conv(1, width), Conv(width, width, 3, depthwise=True)))
    before = {name: tensor.clone() for name, tensor in alone.state_dict().items()}
    sort_channels(alone.within({"width": (3,)}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in alone.state_dict().items())


def test_norms_without_values_or_statistics_of_their_own_are_no_matter():
    width = Number.open("width", (2, 4))
    space = Space(nn.Sequential(Conv(1, width), Norm(width, affine=False, track_running_stats=False), Conv(width, 1)))
    with torch.no_grad():
        space.model[0].whole.weight.copy_(torch.arange(4.0).view(4, 1, 1, 1))
        space.model[2].whole.weight.copy_(torch.tensor([1.0, 3.0, 2.0, 4.0]).view(1, 4, 1, 1))
    sort_channels(space.within({"width": (4,)}))
    assert space.model[0].whole.weight.flatten().tolist() == [3, 1, 2, 0]


def test_a_product_of_two_decisions_is_sorted_between_all_that_it_can_be():
    one, other = Number.open("one", (1, 2)), Number.open("other", (1, 3))
    width = Number((*one.decisions, *other.decisions), lambda answers: answers["one"] * answers["other"])
    with seeded(0):
        space = Space(nn.Sequential(Linear(1, width), Linear(width, 1)))
    reads = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    with torch.no_grad():
        space.model[1].whole.weight.copy_(reads[None])
    sort_channels(space)  # 1, 2, 3 or 6 channels
    assert space.model[1].whole.weight.tolist() == [[1, 2, 3, 6, 5, 4]]
    sort_channels(space.within({"one": (1,)}))  # 1 or 3
    assert space.model[1].whole.weight.tolist() == [[1, 3, 2, 6, 5, 4]]
