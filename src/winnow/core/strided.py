"""Convolutions of 1 x 1 with a stride: over few channels, torch's own writes the weight gradient beyond its memory.

With channels last on a CPU with AVX-512, torch 2.13 (oneDNN, jit_1x1, backward_weights) reserves memory for the
channels that there are and writes whole sixteens: a crash above 56 x 56 pixels, and below nobody knows what.
"""

from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 16  # channels
Network = TypeVar("Network", bound=nn.Module)


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int | tuple[int, ...], padding: int | str) -> Tensor:
    """`F.conv2d` of one group; with 1 x 1 over few channels of the pixels that a stride leaves, which is the same."""
    down, across = (stride, stride) if isinstance(stride, int) else stride
    if weight.shape[2:] == (1, 1) and max(down, across) > 1 and weight.shape[1] < BLOCK and padding == 0:
        return F.conv2d(x[:, :, ::down, ::across], weight, bias)
    return F.conv2d(x, weight, bias, stride, padding)


class Strided(nn.Conv2d):
    """An `nn.Conv2d` of 1 x 1, by the function above."""

    def forward(self, x: Tensor) -> Tensor:
        down, across = self.stride
        return conv2d(x, self.weight, self.bias, (down, across), 0)


def strided(module: nn.Module) -> bool:
    """Whether it is such a convolution, over however many channels."""
    return (
        isinstance(module, nn.Conv2d)
        and module.kernel_size == (1, 1)
        and max(module.stride) > 1
        and module.groups == 1
        and module.padding == (0, 0)
    )


def guarded(network: Network) -> Network:
    """`network` itself, in which torch's own convolutions of this kind are `Strided`; weights and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and strided(module):
            module.__class__ = Strided
    return network
