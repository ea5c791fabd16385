"""Deformable convolutions against plain ones, against shifts made by hand, and a loop that reads tap by tap."""

import torch
import torch.nn.functional as F

from winnow.measure.cost import macs, params
from winnow.nn.deformable import Deformable, Kernel, undeformed


def deformable(c_in=3, c_out=2, stride=1, offsets=0.0):
    torch.manual_seed(0)
    conv = Deformable(c_in, c_out, stride)
    with torch.no_grad():
        conv.bias.normal_()
        if offsets:
            conv.offset.weight.normal_(std=offsets)
            conv.offset.bias.normal_(std=offsets)
    return conv


def test_with_offsets_of_zero_it_is_a_plain_convolution():
    for stride in (1, 2):
        for shape in ((2, 3, 7, 5), (1, 3, 1, 4), (1, 3, 1, 1), (2, 3, 8, 8)):
            conv, x = deformable(stride=stride), torch.randn(shape)
            torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, stride, 1), rtol=1e-4, atol=1e-5)
            assert torch.equal(conv(x, plain=True), F.conv2d(x, conv.weight, conv.bias, stride, 1))


def test_whole_offsets_read_that_many_pixels_further_down_and_right():
    conv, x = deformable(), torch.randn(1, 3, 9, 9)
    with torch.no_grad():
        conv.offset.bias.copy_(torch.tensor([2.0, -1.0]).repeat(9))  # y, then x, tap by tap
    shifted = F.pad(x, (1, 0, 0, 2))[:, :, 2:, :-1]  # what lies 2 below and 1 to the left
    want = F.conv2d(shifted, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x)[:, :, 1:-1, 1:-1], want[:, :, 1:-1, 1:-1], rtol=1e-4, atol=1e-5)


def test_it_reads_what_a_loop_over_positions_and_taps_reads():
    conv, x = deformable(stride=2, offsets=0.6), torch.randn(1, 3, 5, 4, dtype=torch.float64)
    conv = conv.double()
    offsets, want = conv.offset(x), conv(x).clone()

    def at(row, column):  # bilinear, zero outside
        value = torch.zeros(3, dtype=torch.float64)
        top, left = int(torch.floor(row)), int(torch.floor(column))
        for i in (top, top + 1):
            for j in (left, left + 1):
                if 0 <= i < 5 and 0 <= j < 4:
                    value = value + (1 - abs(row - i)) * (1 - abs(column - j)) * x[0, :, i, j]
        return value

    for row in range(want.shape[2]):
        for column in range(want.shape[3]):
            total = conv.bias.clone()
            for k in range(9):
                down, right = offsets[0, 2 * k : 2 * k + 2, row, column]
                taps = at(2 * row - 1 + k // 3 + down, 2 * column - 1 + k % 3 + right)
                total = total + conv.weight[:, :, k // 3, k % 3] @ taps
            torch.testing.assert_close(want[0, :, row, column], total)


def test_it_costs_its_kernel_and_its_offsets():
    assert params(Deformable(112, 112)) == 9 * 112**2 + 163 * 112 + 18
    assert macs(deformable(4, 4), (4, 6, 5)) == 30 * 9 * (4 * 4 + 4 * 18)
    assert macs(Kernel(4, 4, 2), (4, 6, 5)) == 9 * 9 * 4 * 4


def test_kernels_begin_as_released():
    torch.manual_seed(0)
    assert 0.018 < float(Kernel(112, 112).weight.detach().std()) < 0.0185  # U(-s, s), s = 1 / sqrt(9 * 112)
    assert 0.0098 < float(Kernel(112, 112, std=0.01).weight.detach().std()) < 0.0102
    for conv in (Kernel(4, 4), Deformable(4, 4).offset):
        assert not conv.bias.any()
    assert not Deformable(4, 4).offset.weight.any()


def test_kernels_keep_the_side_unless_they_stride():
    x = torch.zeros(1, 2, 5, 4)
    assert Kernel(2, 3)(x).shape == Deformable(2, 3)(x).shape == (1, 3, 5, 4)
    assert Kernel(2, 3, 2)(x).shape == Deformable(2, 3, 2)(x).shape == (1, 3, 3, 2)


def test_a_kernel_without_its_offsets_is_a_plain_convolution_whichever_it_is():
    bent, x = deformable(offsets=0.6), torch.randn(1, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    straight = Kernel(3, 2)
    for conv in (bent, straight):
        assert torch.equal(undeformed(conv, x), F.conv2d(x, conv.weight, conv.bias, padding=1))
    assert not torch.allclose(bent(x), undeformed(bent, x))
