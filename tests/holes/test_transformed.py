"""holes/transformed: kernels that are functions of larger ones. What every space promises is in the contract suite."""

import pytest
import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.space import Space
from winnow.holes.transformed import TransformedDepthwise


@pytest.fixture
def conv() -> TransformedDepthwise:
    conv = TransformedDepthwise(Number.open("width", (2, 3)), Number.open("kernel", (3, 5, 7)))
    Space(nn.Sequential(conv))
    return conv


def settled(conv: TransformedDepthwise, kernel: int, width: int = 3) -> torch.Tensor:
    return conv.settled({"width": width, "kernel": kernel}).weight


def test_with_identities_kernels_are_centre_crops(conv):
    seven = settled(conv, 7)
    assert torch.equal(settled(conv, 5), seven[..., 1:6, 1:6])
    assert torch.equal(settled(conv, 3), seven[..., 2:5, 2:5])
    assert sum(p.numel() for name, p in conv.named_parameters() if name.startswith("to_")) == 25**2 + 9**2 == 706


def test_a_kernel_is_its_matrix_times_the_centre_of_the_larger_one_through_all_between(conv):
    for side in (5, 3):
        nn.init.normal_(conv.get_parameter(f"to_{side}"))
    seven, five, three = (settled(conv, side) for side in (7, 5, 3))
    assert torch.equal(seven, conv.whole.weight)
    for channel in range(3):
        crop = seven[channel, 0, 1:6, 1:6].reshape(25)
        torch.testing.assert_close(five[channel, 0].reshape(25), conv.to_5 @ crop)
        torch.testing.assert_close(three[channel, 0].reshape(9), conv.to_3 @ five[channel, 0, 1:4, 1:4].reshape(9))
    assert torch.equal(settled(conv, 3, width=2), three[:2])


def test_gradients_of_a_small_kernel_reach_the_large_one_through_both_matrices():
    space = Space(nn.Sequential(TransformedDepthwise(2, Number.open("kernel", (3, 5, 7)))))
    conv = space.model[0]
    nn.init.normal_(conv.to_5)
    space(torch.randn(1, 2, 8, 8), {"kernel": 3}).square().sum().backward()
    inner = conv.whole.weight.grad[..., 1:6, 1:6]
    assert inner.count_nonzero() == inner.numel(), "all of the centre of 5 x 5, mixed by the matrix"
    assert conv.whole.weight.grad.count_nonzero() == inner.count_nonzero()
    assert conv.to_5.grad.any()
    assert conv.to_3.grad.any()
    space.zero_grad()
    space(torch.randn(1, 2, 8, 8), {"kernel": 7}).square().sum().backward()
    assert conv.to_5.grad is None


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "width"), [(3, 2), (5, 3), (7, 2)])
def test_a_space_and_its_child_filter_each_channel_by_the_kernel_asked_for(kernel, width, stride):
    torch.manual_seed(0)
    hole = TransformedDepthwise(Number.open("width", (2, 3)), Number.open("kernel", (3, 5, 7)), stride)
    space, x = Space(nn.Sequential(hole)), torch.randn(2, width, 6, 5)
    nn.init.normal_(hole.to_5, std=0.2)
    nn.init.normal_(hole.to_3, std=0.2)
    arch = {"width": width, "kernel": kernel}
    weight = settled(hole, kernel, width)
    assert weight.shape == (width, 1, kernel, kernel)
    expected = nn.functional.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=width)
    child = space.derive(arch)
    torch.testing.assert_close(space(x, arch), expected)
    torch.testing.assert_close(child(x), expected)
    assert [name for name, _ in child.named_parameters()] == ["0.weight"]


def test_sides_between_are_passed_whatever_their_distance():
    """From 7 to 1 by way of 5: one that is left out is no step."""
    conv = TransformedDepthwise(1, Number.open("kernel", (1, 5, 7)))
    assert [tuple(p.shape) for name, p in conv.named_parameters() if name.startswith("to_")] == [(25, 25), (1, 1)]
    with torch.no_grad():
        conv.to_5.mul_(2.0)
        conv.to_1.mul_(10.0)
    seven = conv.whole.weight
    torch.testing.assert_close(conv.settled({"kernel": 5}).weight, 2 * seven[..., 1:6, 1:6])
    torch.testing.assert_close(conv.settled({"kernel": 1}).weight, 20 * seven[..., 3:4, 3:4])


def test_resetting_makes_matrices_identities_again(conv):
    for side in (5, 3):
        nn.init.normal_(conv.get_parameter(f"to_{side}"))
    conv.reset_parameters()
    assert torch.equal(conv.to_5, torch.eye(25))
    assert torch.equal(conv.to_3, torch.eye(9))
    assert not hasattr(conv, "to_7")


def test_it_keeps_the_side_unless_told(conv):
    conv.board.setting = {"width": 2, "kernel": 3}
    assert conv(torch.zeros(1, 2, 5, 4)).shape == (1, 2, 5, 4)
