"""nn.blocks: the pieces of published skeletons."""

import pytest
import torch
from torch import nn

from winnow.measure.cost import params
from winnow.nn.blocks import AuxiliaryHead, ResidualReduction, ShuffleUnit


def images(channels: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (6, 5), (1, 1)])
def test_a_residual_reduction_halves_any_side(height, width):
    block = ResidualReduction(4, 6, affine=True)
    assert block(images(4, height, width)).shape == (2, 6, (height + 1) // 2, (width + 1) // 2)


def test_a_residual_reduction_is_a_shortcut_beside_a_residual():
    block = ResidualReduction(2, 3, affine=True).eval()
    nn.init.zeros_(block.residual[-1].weight)  # with BatchNorm's bias at zero, no residual is left
    x = images(2, 4, 4)
    means = x.reshape(2, 2, 2, 2, 2, 2).mean((3, 5))
    expected = torch.einsum("oi,bihw->bohw", block.shortcut[1].weight[:, :, 0, 0], means)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("imagenet", "size"), [(False, 476_426), (True, 476_426 - 2 * 768)])
def test_the_auxiliary_head_has_the_published_size_and_takes_any_side(imagenet, size):
    head = AuxiliaryHead(576, 10, imagenet)
    assert params(head) == size
    for side in (8, 7, 4, 2, 1, 14):
        assert head(images(576, side, side)).shape == (2, 10)


@pytest.mark.parametrize(("imagenet", "side", "stride"), [(False, 8, 3), (True, 7, 2)])
def test_the_auxiliary_head_pools_as_published(imagenet, side, stride):
    head, seen = AuxiliaryHead(3, 4, imagenet).eval(), []
    head.features.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = images(3, side, side)
    head(x)
    rows = [x.relu()[:, :, i : i + 5, j : j + 5].mean((2, 3)) for i in (0, stride) for j in (0, stride)]
    torch.testing.assert_close(seen[0], torch.stack(rows, dim=2).reshape(2, 3, 2, 2))


@pytest.mark.parametrize("kernels", [(3,), (5,), (7,), (3, 3, 3)])
@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(8, 8, 1), (6, 8, 1), (6, 16, 2), (4, 10, 2)])
def test_a_shuffle_unit_has_its_channels_and_side(kernels, c_in, c_out, stride):
    for height, width in [(8, 8), (7, 5), (1, 1)]:
        found = ShuffleUnit(c_in, c_out, stride, kernels, affine=True)(images(c_in, height, width))
        assert found.shape == (2, c_out, -(-height // stride), -(-width // stride))


def test_half_of_the_shuffled_input_bypasses_the_unit():
    unit, x = ShuffleUnit(8, 8, 1, (3,), affine=True), images(8, 4, 4)
    found = unit(x)
    assert torch.equal(found[:, :4], x[:, 0::2])
    torch.testing.assert_close(found[:, 4:], unit.main(x[:, 1::2]))


def test_the_xception_unit_strides_in_its_first_depthwise_only():
    convs = [m for m in ShuffleUnit(4, 10, 2, (3, 3, 3), affine=True).main if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.stride[0], m.in_channels, m.out_channels) for m in convs] == [
        (3, 2, 4, 4),
        (1, 1, 4, 5),
        (3, 1, 5, 5),
        (1, 1, 5, 5),
        (3, 1, 5, 5),
        (1, 1, 5, 6),
    ]


@pytest.mark.parametrize("affine", [True, False])
def test_every_norm_of_a_unit_is_as_asked(affine):
    for kernels in ((5,), (3, 3, 3)):
        norms = [m for m in ShuffleUnit(4, 10, 2, kernels, affine).modules() if isinstance(m, nn.BatchNorm2d)]
        assert {norm.affine for norm in norms} == {affine}


def test_a_unit_without_room_for_its_main_branch_is_refused():
    with pytest.raises(ValueError, match="from 8 to 8 channels has none for its main branch"):
        ShuffleUnit(8, 8, 2, (3,), affine=True)
