"""Candidate operations of the DARTS and NAS-Bench-201 cells, all of `channels` in and out and stride `stride`.

Sources: Liu et al. 2019 (arXiv:1806.09055) and Dong & Yang 2020 (arXiv:2001.00326), with their public code's layouts.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.nn.drop_path import DropPath


class Zero(nn.Module):
    """`none`: zeros of the strided shape."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class Noise(nn.Module):
    """Standard normal noise of the strided shape, ignoring the input (space S4 of Zela et al. 2020)."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """Halve both sides: two strided 1x1 convolutions, one of the input shifted by a pixel, concatenated."""

    def __init__(self, c_in: int, c_out: int, affine: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out // 2, 1, stride=2, bias=False)
        self.conv2 = nn.Conv2d(c_in, c_out - c_out // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(c_out, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        height, width = x.shape[2:]
        shifted = F.pad(x[:, :, 1:, 1:], (0, width % 2, 0, height % 2))  # odd sides keep both halves alike
        return self.bn(torch.cat([self.conv1(x), self.conv2(shifted)], dim=1))


def relu_conv_bn(c_in: int, c_out: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(c_out, affine=affine),
    )


def separable(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> nn.Sequential:
    """ReLU, depthwise `kernel`, pointwise, BatchNorm."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def sep_conv(channels: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    return nn.Sequential(
        separable(channels, kernel, stride, 1, affine),
        separable(channels, kernel, 1, 1, affine),
    )


def pool(kind: str, stride: int) -> nn.Module:
    if kind == "max":
        return nn.MaxPool2d(3, stride, 1)
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


def darts_op(name: str, channels: int, stride: int, final: bool) -> nn.Module:
    """One candidate of a DARTS edge.

    While searching, BatchNorms are not affine and pools are followed by one; in a `final` network they are affine,
    pools stand alone, and everything but an identity can be dropped (`DropPath`).
    """

    def pooled(kind: str) -> nn.Module:
        alone = pool(kind, stride)
        return alone if final else nn.Sequential(alone, nn.BatchNorm2d(channels, affine=False))

    def skip() -> nn.Module:
        return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, final)

    ops: dict[str, Callable[[], nn.Module]] = {
        "none": lambda: Zero(stride),
        "noise": lambda: Noise(stride),
        "max_pool_3x3": lambda: pooled("max"),
        "avg_pool_3x3": lambda: pooled("avg"),
        "skip_connect": skip,
        "sep_conv_3x3": lambda: sep_conv(channels, 3, stride, final),
        "sep_conv_5x5": lambda: sep_conv(channels, 5, stride, final),
        "sep_conv_7x7": lambda: sep_conv(channels, 7, stride, final),
        "dil_conv_3x3": lambda: separable(channels, 3, stride, 2, final),
        "dil_conv_5x5": lambda: separable(channels, 5, stride, 2, final),
    }
    op = ops[name]()
    return nn.Sequential(op, DropPath()) if final and not isinstance(op, nn.Identity) else op


def nb201_op(name: str, channels: int, affine: bool) -> nn.Module:
    """One candidate of a NAS-Bench-201 edge; its pool has no BatchNorm."""
    ops: dict[str, Callable[[], nn.Module]] = {
        "none": lambda: Zero(1),
        "skip_connect": nn.Identity,
        "nor_conv_1x1": lambda: relu_conv_bn(channels, channels, 1, 1, affine),
        "nor_conv_3x3": lambda: relu_conv_bn(channels, channels, 3, 1, affine),
        "avg_pool_3x3": lambda: pool("avg", 1),
    }
    return ops[name]()
