"""The ShuffleNetV2-like space of SPOS (Guo et al. 2020, arXiv:1904.00420): twenty blocks, four candidates each."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.holes import Choice
from winnow.core.options import Rate
from winnow.core.space import Space
from winnow.holes.elastic import Conv, Norm
from winnow.nn.blocks import ShuffleUnit, plain_conv
from winnow.spaces.options import positive, shares

KERNELS = {"shuffle_3": (3,), "shuffle_5": (5,), "shuffle_7": (7,), "xception": (3, 3, 3)}  # published choices 0 to 3
STAGES = ((4, 64), (4, 160), (8, 320), (4, 640))  # (blocks, output channels)
STEM, HEAD = 16, 1024


def mobile(
    width: Rate = 1.0,
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
    final: bool = False,
    *,
    start: Literal["torch", "published"] = "torch",
    channels: Sequence[int] | None = None,
    candidates: Sequence[str] = tuple(KERNELS),
) -> Space:
    """Stem, twenty decisions "block/0" ... "block/19", head; x is (batch, image_channels, height, width).

    4^20 architectures. `width` multiplies the channels of stem and stages. The published network halves the image five
    times, to 7 x 7; a smaller `image_size`, a side or (height, width), skips the earliest halvings so that at least
    4 x 4 remain. BatchNorms are affine in a `final` network only, as published. Convolutions `start` as torch draws
    them, or as the authors' code does (`AsPublished`). ValueError where image or width are too small for the blocks.

    `channels`, percent of half a block's output, opens the width of its inner maps: "block/0/channels" ..., whichever
    candidate it is. Published: 20, 40, ..., 160, which makes 32^20 architectures. All share the weights of the widest,
    of which a width takes the first channels; it is rounded down, to one at least.

    `candidates` are those of each block: all four, or some. With [shuffle_3] widths alone are open, the paper's search
    of channels "choice_3". ValueError where one is unknown or named twice.
    """
    unknown = [name for name in candidates if name not in KERNELS]
    if unknown or not candidates or len(set(candidates)) < len(candidates):
        raise ValueError(f"candidates takes some of {', '.join(KERNELS)}, each once, not {list(candidates)}")
    side = min(image_size) if isinstance(image_size, tuple | list) else image_size
    positive(classes=classes, image_channels=image_channels, image_size=side)
    if side < 8:
        raise ValueError(f"image_size takes 8 or more, not {image_size}")
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width takes a positive number, not {width!r}")
    percents = None if channels is None else shares("channels", channels)
    halvings = min(5, (side // 4).bit_length() - 1)
    strides = [1] * (5 - halvings) + [2] * halvings
    c_last = _even(STEM * width)
    stem = [nn.Conv2d(image_channels, c_last, 3, strides[0], 1, bias=False), nn.BatchNorm2d(c_last, affine=final)]
    blocks: list[nn.Module] = []
    for (repeats, plain), first_stride in zip(STAGES, strides[1:], strict=True):
        c_out = _even(plain * width)
        for i in range(repeats):
            stride = first_stride if i == 0 else 1
            name = f"block/{len(blocks)}"
            layers: dict[str, Any] = {}
            if percents is not None:
                middle = Number.open(f"{name}/channels", percents).map(part_of(c_out // 2))
                layers = {"middle": middle, "conv": _conv, "norm": _norm}
            units = {key: ShuffleUnit(c_last, c_out, stride, KERNELS[key], final, **layers) for key in candidates}
            blocks.append(Choice(name, units))
            c_last = c_out
    head = [
        nn.Conv2d(c_last, HEAD, 1, bias=False),
        nn.BatchNorm2d(HEAD, affine=final),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(HEAD, classes, bias=False),
    ]
    if start == "torch":
        return Space(nn.Sequential(*stem, nn.ReLU(), *blocks, *head))
    if start != "published":
        raise ValueError(f"start takes torch or published, not {start!r}")
    network = AsPublished(*stem, nn.ReLU(), *blocks, *head)
    network.reset_parameters()
    return Space(network)


class AsPublished(nn.Sequential):
    """A chain whose convolutions begin as N(0, 1 / (input channels per group)^2), so depthwise ones with deviation 1.

    Stem and classifier have deviation 0.01, biases of BatchNorm are 1e-4.
    """

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.01 if module is self[0] else 1 / module.weight.shape[1])
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            elif isinstance(module, nn.BatchNorm2d) and module.affine:
                nn.init.constant_(module.bias, 1e-4)


def part_of(channels: int) -> Callable[[int], int]:
    """So many percent of `channels`, rounded down, one at least."""
    return lambda percent: max(1, channels * percent // 100)


def _conv(c_in: Any, c_out: Any, kernel: int = 1, stride: int = 1, *, depthwise: bool = False) -> nn.Module:
    open_ = isinstance(c_in, Number) or isinstance(c_out, Number)
    return (Conv if open_ else plain_conv)(c_in, c_out, kernel, stride, depthwise=depthwise)


def _norm(channels: Any, affine: bool) -> nn.Module:
    return (Norm if isinstance(channels, Number) else nn.BatchNorm2d)(channels, affine=affine)


def _even(channels: float) -> int:
    return max(4, 2 * round(channels / 2))  # units split their channels in half
