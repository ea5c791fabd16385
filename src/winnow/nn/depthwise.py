"""Depthwise convolution and average pooling with gradients that are quick on a CPU.

There the library's own gradients of a depthwise convolution take up to twelve times its forward where the kernel is
dilated or wider than three. Here the same sums are written as kernels that are quick; other devices keep their own.
All can be differentiated as often as wanted.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

QUICK_COLUMNS = 3  # the widest kernel whose weight gradient the CPU library vectorises


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
    """F.conv2d with as many groups as channels; x is (batch, channels, h, w), weight (channels, 1, k, k)."""
    kind = x.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        # as a library's convolution: the function below is hidden from it
        dtype = torch.get_autocast_dtype(kind)
        x, weight = x.to(dtype), weight.to(dtype)
    return _Depthwise.apply(x, weight, stride, padding, dilation)  # type: ignore[no-untyped-call]


def average_pool(x: Tensor, stride: int) -> Tensor:
    """F.avg_pool2d of 3 x 3 that counts only pixels inside; as a convolution it takes a fifth of the time on a CPU."""
    if not x.is_cpu:
        return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    ones, share = _inside(x.shape[1:], stride, x.dtype)
    return depthwise(x, ones, stride, 1).mul_(share)


@functools.lru_cache(maxsize=32)
def _inside(shape: torch.Size, stride: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The kernel of a sum over 3 x 3 pixels, and one over how many of them lie inside an image of `shape`."""
    with torch.inference_mode(False), torch.no_grad():
        ones = torch.ones(shape[0], 1, 3, 3, dtype=dtype)
        image = torch.ones(1, *shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
        return ones, depthwise(image, ones, stride, 1).reciprocal_()


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
        ctx.geometry, ctx.shape = (stride, padding, dilation), x.shape
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return F.conv2d(x, weight, None, stride, padding, dilation, weight.shape[0])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g = g.contiguous(memory_format=torch.channels_last)
        for_x = input_gradient(ctx.shape, weight, g, *ctx.geometry) if ctx.needs_input_grad[0] else None
        for_weight = weight_gradient(x, weight.shape, g, *ctx.geometry) if ctx.needs_input_grad[1] else None
        return for_x, for_weight, None, None, None


def input_gradient(shape: torch.Size, weight: Tensor, g: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    """The gradient of an input of `shape`: at stride 1 itself a depthwise convolution, with the kernel turned round."""
    if stride == 1 and g.is_cpu:
        around = dilation * (weight.shape[-1] - 1) - padding
        return depthwise(g, weight.flip(2, 3), 1, around, dilation)
    like = torch.empty(shape, dtype=g.dtype, device=g.device, memory_format=torch.channels_last)
    steps, pads, dilations = ([size, size] for size in (stride, padding, dilation))
    mask = [True, False, False]
    return torch.ops.aten.convolution_backward(
        g, like, weight, None, steps, pads, dilations, False, [0, 0], weight.shape[0], mask
    )[0]


def weight_gradient(x: Tensor, shape: torch.Size, g: Tensor, stride: int, padding: int, dilation: int) -> Tensor:
    """The gradient of a kernel of `shape`: dense kernels on the phases of a dilated one, at most three columns wide."""
    channels, kernel = shape[0], shape[-1]
    if not g.is_cpu:
        return conv2d_weight(x, shape, g, stride, padding, dilation, channels)
    if dilation > 1 and stride == 1 and padding == dilation * (kernel // 2):
        x, g, padding, dilation = space_to_batch(x, dilation), space_to_batch(g, dilation), padding // dilation, 1
    if dilation > 1 or kernel <= QUICK_COLUMNS:
        return conv2d_weight(x, shape, g, stride, padding, dilation, channels)
    tiles = [
        _columns_gradient(x, (channels, 1, kernel, min(QUICK_COLUMNS, kernel - first)), g, stride, padding, first)
        for first in range(0, kernel, QUICK_COLUMNS)
    ]
    return torch.cat(tiles, dim=3)


def _columns_gradient(x: Tensor, shape: tuple, g: Tensor, stride: int, padding: int, first: int) -> Tensor:
    """The gradient of the kernel's columns from `first` on: those of a narrower kernel over the part that they see."""
    left, top = padding - first, padding
    width = stride * (g.shape[3] - 1) + shape[3]
    right = width - x.shape[3] - left
    bottom = stride * (g.shape[2] - 1) + shape[2] - x.shape[2] - top
    x = F.pad(x, (max(left, 0), max(right, 0), top, bottom))  # first: of a small image all may be cut off
    return conv2d_weight(x.narrow(3, max(-left, 0), width), shape, g, stride, 0, 1, shape[0])


def space_to_batch(x: Tensor, step: int) -> Tensor:
    """Every `step`-th pixel as an image of its own: (step * step * batch, channels, h / step, w / step), channels last.

    Odd sides are filled up with zeros.
    """
    x = F.pad(x, (0, -x.shape[3] % step, 0, -x.shape[2] % step)) if x.shape[2] % step or x.shape[3] % step else x
    batch, channels, height, width = x.shape
    split = x.permute(0, 2, 3, 1).reshape(batch, height // step, step, width // step, step, channels)
    phases = split.permute(2, 4, 0, 1, 3, 5).reshape(-1, height // step, width // step, channels)
    return phases.permute(0, 3, 1, 2)
