"""nn.blocks: the pieces of published skeletons."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.measure.cost import params
from winnow.nn.blocks import (
    AuxiliaryHead,
    Residual,
    ResidualReduction,
    ShuffleUnit,
    SqueezeExcite,
    conv_norm,
    plain_conv,
)


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
    with pytest.raises(ValueError, match="from 8 to 6 channels has none for its main branch: widen it"):
        ShuffleUnit(8, 6, 1, (3,), affine=True)


def form(conv: nn.Conv2d) -> tuple:
    """(channels in, channels out, kernel, stride, padding, groups) of a convolution without a bias."""
    assert conv.bias is None
    assert conv.dilation == (1, 1)
    return (
        *(conv.in_channels, conv.out_channels),
        *(conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.groups),
    )


def forms(module: nn.Module) -> list[tuple]:
    return [form(m) for m in module.modules() if isinstance(m, nn.Conv2d)]


def normed(x: torch.Tensor) -> torch.Tensor:
    """As a new BatchNorm in training does."""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
    return (x - mean) / (var + 1e-5).sqrt()


@pytest.mark.parametrize("affine", [True, False])
def test_a_residual_reduction_strides_in_its_first_convolution(affine):
    torch.manual_seed(0)
    block, x = ResidualReduction(3, 5, affine).double(), images(3, 6, 8).double()
    assert forms(block.residual) == [(3, 5, 3, 2, 1, 1), (5, 5, 3, 1, 1, 1)]
    assert forms(block.shortcut) == [(3, 5, 1, 1, 0, 1)]
    first, second = (m.weight for m in block.residual if isinstance(m, nn.Conv2d))
    inner = normed(F.conv2d(x.relu(), first, stride=2, padding=1)).relu()
    beside = F.conv2d(F.avg_pool2d(x, 2), block.shortcut[1].weight)
    torch.testing.assert_close(block(x), normed(F.conv2d(inner, second, padding=1)) + beside)
    assert [m.affine for m in block.modules() if isinstance(m, nn.BatchNorm2d)] == [affine, affine]


@pytest.mark.parametrize(
    ("imagenet", "height", "width", "pools"),
    [
        *((False, 8, 8, True), (False, 8, 7, False), (False, 7, 9, False), (False, 11, 14, True), (False, 1, 6, False)),
        *((True, 7, 7, True), (True, 6, 9, False), (True, 14, 14, True), (True, 1, 1, False)),
    ],
)
def test_the_auxiliary_head_pools_maps_of_its_own_side_and_larger(imagenet, height, width, pools):
    head, seen = AuxiliaryHead(3, 4, imagenet).eval(), []
    head.features.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = images(3, height, width)
    found = head(x)
    before = F.avg_pool2d(x.relu(), 5, 2 if imagenet else 3) if pools else x.relu()
    torch.testing.assert_close(seen[0], F.adaptive_avg_pool2d(before, 2))
    torch.testing.assert_close(found, head.classifier(head.features(seen[0])[:, :, 0, 0]))


@pytest.mark.parametrize("imagenet", [False, True])
def test_the_auxiliary_head_has_two_convolutions_and_a_norm_less_for_imagenet(imagenet):
    head = AuxiliaryHead(3, 4, imagenet)
    assert forms(head.features) == [(3, 128, 1, 1, 0, 1), (128, 768, 2, 1, 0, 1)]
    norm = [] if imagenet else [nn.BatchNorm2d]
    assert [type(m) for m in head.features] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, *norm, nn.ReLU]
    assert (AuxiliaryHead(3, 4).stride, head.stride) == (3, 2 if imagenet else 3)


def test_convolutions_keep_the_side_at_stride_one_and_have_no_bias():
    conv, norm = conv_norm(4, 6, 5, 2)
    assert (form(conv), norm.num_features) == ((4, 6, 5, 2, 2, 1), 6)
    assert form(conv_norm(4, 6, 3, 1, groups=2)[0]) == (4, 6, 3, 1, 1, 2)
    assert form(plain_conv(4, 6)) == (4, 6, 1, 1, 0, 1)
    assert form(plain_conv(4, 4, 7, 2, depthwise=True)) == (4, 4, 7, 2, 3, 4)


def test_a_residual_adds_its_input():
    assert Residual(nn.Hardtanh())(torch.tensor([5.0, -0.5])).tolist() == [6, -1]


def test_a_gate_sees_the_means_of_channels():
    """Means 2 and 1; reduced to relu(2 - 1) = 1, expanded to 1.5 and -9: gates (1.5 + 3) / 6 and 0."""
    x = torch.tensor([[[[1.0, 3.0], [4.0, 0.0]], [[1.0, 1.0], [0.0, 2.0]]], [[[4.0] * 2] * 2, [[9.0] * 2] * 2]])
    gate = SqueezeExcite(nn.Conv2d(2, 1, 1, bias=False), nn.Conv2d(1, 2, 1))
    with torch.no_grad():
        gate.reduce.weight.copy_(torch.tensor([1.0, -1.0]).view(1, 2, 1, 1))
        gate.expand.weight.copy_(torch.tensor([1.0, -9.0]).view(2, 1, 1, 1))
        gate.expand.bias.copy_(torch.tensor([0.5, 0.0]))
    found = gate(x)
    torch.testing.assert_close(found[0], torch.stack([0.75 * x[0, 0], 0 * x[0, 1]]))
    # of the second image relu(4 - 9) is 0, so gates are (0.5 + 3) / 6 and a half
    torch.testing.assert_close(found[1], torch.stack([3.5 / 6 * x[1, 0], 0.5 * x[1, 1]]))


@pytest.mark.parametrize(
    ("unit", "main", "projection"),
    [
        ((8, 8, 1, (5,)), [(4, 4, 1, 1, 0, 1), (4, 4, 5, 1, 2, 4), (4, 4, 1, 1, 0, 1)], []),
        ((8, 8, 1, (5,), 3), [(4, 3, 1, 1, 0, 1), (3, 3, 5, 1, 2, 3), (3, 4, 1, 1, 0, 1)], []),
        (
            (6, 16, 1, (3,)),
            [(6, 8, 1, 1, 0, 1), (8, 8, 3, 1, 1, 8), (8, 10, 1, 1, 0, 1)],
            [(6, 6, 3, 1, 1, 6), (6, 6, 1, 1, 0, 1)],
        ),
        (
            (4, 11, 2, (7,)),
            [(4, 5, 1, 1, 0, 1), (5, 5, 7, 2, 3, 5), (5, 7, 1, 1, 0, 1)],
            [(4, 4, 7, 2, 3, 4), (4, 4, 1, 1, 0, 1)],
        ),
        (
            (8, 9, 2, (3,)),
            [(8, 4, 1, 1, 0, 1), (4, 4, 3, 2, 1, 4), (4, 1, 1, 1, 0, 1)],
            [(8, 8, 3, 2, 1, 8), (8, 8, 1, 1, 0, 1)],
        ),
        (
            (4, 10, 2, (5, 3, 3), 7),
            [
                *((4, 4, 5, 2, 2, 4), (4, 7, 1, 1, 0, 1), (7, 7, 3, 1, 1, 7)),
                *((7, 7, 1, 1, 0, 1), (7, 7, 3, 1, 1, 7), (7, 6, 1, 1, 0, 1)),
            ],
            [(4, 4, 5, 2, 2, 4), (4, 4, 1, 1, 0, 1)],
        ),
    ],
)
def test_a_unit_has_the_published_convolutions(unit, main, projection):
    c_in, c_out, stride, kernels, *middle = unit
    made = ShuffleUnit(c_in, c_out, stride, kernels, True, *middle)
    assert forms(made.main) == main
    assert (forms(made.projection) if made.projection else []) == projection


def test_units_have_a_relu_behind_what_is_pointwise_only():
    pointwise, depthwise = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU], [nn.Conv2d, nn.BatchNorm2d]
    plain, xception = (ShuffleUnit(4, 10, 2, kernels, True) for kernels in ((5,), (3, 3, 3)))
    assert [type(m) for m in plain.main] == [*pointwise, *depthwise, *pointwise]
    assert [type(m) for m in xception.main] == [*depthwise, *pointwise] * 3
    for unit in (plain, xception):
        assert [type(m) for m in unit.projection] == [*depthwise, *pointwise]


def test_a_projected_unit_gives_the_projection_first():
    unit, x = ShuffleUnit(4, 10, 2, (3,), affine=True).eval(), images(4, 5, 6)
    found = unit(x)
    assert torch.equal(found[:, :4], unit.projection(x))
    assert torch.equal(found[:, 4:], unit.main(x))
