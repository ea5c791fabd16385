"""nn.ops: shapes, and each operation against its definition written out."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.nn import ops
from winnow.spaces.darts import OPS as DARTS_OPS
from winnow.spaces.nas_bench_201 import OPS as NB201_OPS


def images(channels: int, height: int, width: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def half(side: int) -> int:
    return (side + 1) // 2


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [*DARTS_OPS, "noise"])
def test_darts_operations_keep_channels_and_halve_both_sides(name, stride, final):
    op = ops.darts_op(name, 4, stride, final)
    for height, width in [(8, 8), (7, 7), (6, 5), (3, 2), (1, 1), (2, 9)]:
        found = op(images(4, height, width)).shape
        assert found == ((2, 4, half(height), half(width)) if stride == 2 else (2, 4, height, width))


@pytest.mark.parametrize("name", NB201_OPS)
def test_nas_bench_201_operations_keep_the_shape(name):
    for side in (8, 7, 1):
        assert ops.nb201_op(name, 4, affine=False)(images(4, side, side)).shape == (2, 4, side, side)


@pytest.mark.parametrize("name", DARTS_OPS)
def test_searching_norms_are_not_affine_and_final_ones_are(name):
    for final in (False, True):
        norms = [m for m in ops.darts_op(name, 4, 2, final).modules() if isinstance(m, nn.BatchNorm2d)]
        assert all(norm.affine is final for norm in norms)
    pools = [len(list(ops.darts_op("max_pool_3x3", 4, 1, final).modules())) for final in (False, True)]
    assert pools == [3, 3]  # sequential of the pool and BatchNorm, or of the pool and drop-path
    assert not any(isinstance(m, nn.BatchNorm2d) for m in ops.nb201_op("avg_pool_3x3", 4, True).modules())


def test_identities_are_exempt_from_drop_path_and_everything_else_is_not():
    def dropped(name: str, stride: int, final: bool) -> bool:
        return any(isinstance(m, ops.DropPath) for m in ops.darts_op(name, 4, stride, final).modules())

    assert not dropped("skip_connect", 1, True)
    assert dropped("skip_connect", 2, True)
    assert all(dropped(name, 1, True) for name in DARTS_OPS if name != "skip_connect")
    assert not any(dropped(name, 2, False) for name in DARTS_OPS)


@pytest.mark.parametrize("stride", [1, 2])
def test_zero_is_nothing_even_of_what_is_no_number(stride):
    x = torch.full((1, 2, 5, 5), float("nan"))
    side = 5 if stride == 1 else 3
    assert torch.equal(ops.Zero(stride)(x), torch.zeros(1, 2, side, side))


def test_noise_is_standard_normal_whatever_comes_in():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        first = ops.Noise(2)(torch.full((8, 16, 21, 21), 1e9))
        torch.manual_seed(0)
        again = ops.Noise(2)(torch.zeros(8, 16, 21, 21))
    assert first.shape == (8, 16, 11, 11)
    assert torch.equal(first, again)
    assert first.mean().abs() < 0.03
    assert (first.std() - 1).abs() < 0.03


@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 7), (4, 5), (1, 1)])
def test_factorized_reduce_sees_even_pixels_and_those_a_step_down_right(height, width):
    op = ops.FactorizedReduce(3, 5, affine=False).eval()  # BatchNorm of new statistics divides by sqrt(1 + eps)
    x = images(3, height, width)
    shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
    expected = torch.cat(
        [
            torch.einsum("oi,bihw->bohw", op.conv1.weight[:, :, 0, 0], x.relu()[:, :, ::2, ::2]),
            torch.einsum("oi,bihw->bohw", op.conv2.weight[:, :, 0, 0], shifted.relu()[:, :, ::2, ::2]),
        ],
        dim=1,
    )
    torch.testing.assert_close(op(x) * (1 + op.bn.eps) ** 0.5, expected)
    assert [(c.out_channels, c.kernel_size, c.bias) for c in (op.conv1, op.conv2)] == [
        (2, (1, 1), None),
        (3, (1, 1), None),
    ]


def test_a_separable_convolution_is_depthwise_then_pointwise_twice():
    op = ops.sep_conv(4, 5, 2, affine=False).eval()
    convs = [m for m in op.modules() if isinstance(m, nn.Conv2d)]
    described = [(m.kernel_size[0], m.groups, m.stride[0], m.padding[0], m.dilation[0], m.bias) for m in convs]
    assert described == [(5, 4, 2, 2, 1, None), (1, 1, 1, 0, 1, None), (5, 4, 1, 2, 1, None), (1, 1, 1, 0, 1, None)]
    torch.testing.assert_close(op(images(4, 8, 8)), op(images(4, 8, 8).relu()))  # it opens with a ReLU


@pytest.mark.parametrize(("kernel", "padding"), [(3, 2), (5, 4)])
def test_a_dilated_convolution_is_applied_once(kernel, padding):
    convs = [m for m in ops.darts_op(f"dil_conv_{kernel}x{kernel}", 4, 1, False).modules() if isinstance(m, nn.Conv2d)]
    assert [(m.kernel_size[0], m.padding[0], m.dilation[0], m.groups) for m in convs] == [
        (kernel, padding, 2, 4),
        (1, 0, 1, 1),
    ]


def test_the_average_pool_does_not_count_its_padding():
    pooled = ops.pool("avg", 1)(torch.ones(1, 1, 4, 4))
    torch.testing.assert_close(pooled, torch.ones(1, 1, 4, 4))


def test_the_maximum_pool_is_of_three_by_three():
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1.0
    assert ops.pool("max", 1)(x).sum() == 9


def described(module: nn.Module) -> list[tuple]:
    """(kernel, stride, padding, dilation, groups) of each convolution."""
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert all(conv.bias is None and (conv.in_channels, conv.out_channels) == (4, 4) for conv in convs)
    return [(m.kernel_size[0], m.stride[0], m.padding[0], m.dilation[0], m.groups) for m in convs]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_separable_convolutions_are_of_the_side_in_their_name_and_stride_once(kernel, stride):
    pointwise, half = (1, 1, 0, 1, 1), kernel // 2
    assert described(ops.darts_op(f"sep_conv_{kernel}x{kernel}", 4, stride, False)) == [
        (kernel, stride, half, 1, 4),
        pointwise,
        (kernel, 1, half, 1, 4),
        pointwise,
    ]
    if kernel < 7:
        name = f"dil_conv_{kernel}x{kernel}"
        assert described(ops.darts_op(name, 4, stride, False)) == [(kernel, stride, 2 * half, 2, 4), pointwise]


@pytest.mark.parametrize(("kernel", "padding"), [(1, 0), (3, 1), (5, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_is_between_a_relu_and_a_norm(kernel, padding, stride):
    torch.manual_seed(0)
    op, x = ops.relu_conv_bn(3, 5, kernel, stride, affine=False).double(), images(3, 6, 7).double()
    y = F.conv2d(x.relu(), op[1].weight, stride=stride, padding=padding)
    expected = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(op(x), expected)
    assert [ops.relu_conv_bn(3, 5, kernel, stride, affine)[2].affine for affine in (False, True)] == [False, True]


@pytest.mark.parametrize(("name", "form"), [("nor_conv_1x1", (1, 1, 0, 1, 1)), ("nor_conv_3x3", (3, 1, 1, 1, 1))])
def test_convolutions_of_nas_bench_201_are_of_the_side_in_their_name(name, form):
    for affine in (False, True):
        op = ops.nb201_op(name, 4, affine)
        assert described(op) == [form]
        assert [m.affine for m in op.modules() if isinstance(m, nn.BatchNorm2d)] == [affine]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pools_are_of_the_neighbours_that_there_are(kind, stride):
    x = images(1, 5, 4, 1)
    found = ops.pool(kind, stride)(x)
    for i, row in enumerate(range(0, 5, stride)):
        for j, column in enumerate(range(0, 4, stride)):
            near = x[0, 0, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            expected = near.mean() if kind == "avg" else near.max()
            torch.testing.assert_close(found[0, 0, i, j], expected)


def test_pools_of_darts_and_of_nas_bench_201_are_of_their_kind():
    x = images(4, 6, 6)
    for name, kind in (("max_pool_3x3", "max"), ("avg_pool_3x3", "avg")):
        searching, final = (ops.darts_op(name, 4, 2, final) for final in (False, True))
        assert torch.equal(searching[0](x), ops.pool(kind, 2)(x))
        assert torch.equal(final(x), ops.pool(kind, 2)(x))
    assert torch.equal(ops.nb201_op("avg_pool_3x3", 4, False)(x), ops.pool("avg", 1)(x))
    assert ops.nb201_op("skip_connect", 4, False)(x) is x
    assert not ops.nb201_op("none", 4, False)(x).any()


def test_norms_behind_a_pool_and_in_a_reduction_know_all_channels():
    for final in (False, True):
        for name in ("max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3"):
            norms = [m for m in ops.darts_op(name, 6, 2, final).modules() if isinstance(m, nn.BatchNorm2d)]
            assert {norm.num_features for norm in norms} <= {6}
            assert len(norms) == (2 if name == "sep_conv_3x3" else 0 if final and name == "max_pool_3x3" else 1)
