"""The inverted-bottleneck space of Cream of the Crop (Peng et al. 2020, arXiv:2010.15821), as in the authors' code."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from winnow.core.holes import Choice
from winnow.core.options import Rate
from winnow.core.space import Space
from winnow.nn.blocks import Residual, SqueezeExcite, conv_norm
from winnow.spaces.ofa import to_eight
from winnow.spaces.options import positive

CANDIDATES = {f"k{kernel}_e{ratio}": (kernel, ratio) for kernel in (3, 5, 7) for ratio in (4, 6)}  # choices 0 to 5
STAGES = ((24, 2), (40, 2), (80, 2), (96, 1), (192, 2))  # output channels, first stride
STEM, LAST, HEAD = 16, 320, 1280
HALVINGS = 5  # the stem, and four of the stages


def cream(
    layers: Sequence[int] = (4, 4, 4, 4, 4),
    width: Rate = 1.0,
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
) -> Space:
    """Stem, a fixed block, five stages of so many `layers`, head; x is (batch, image_channels, height, width).

    Decisions "stage1/block1" ..., each a kernel of 3, 5 or 7 and an expansion by 4 or 6, with squeeze and excite: 6^20
    architectures. `width` multiplies all channels but the head's. The published search makes `layers` and the image fit
    a window of MACs before it begins; the 481 M network has (4, 4, 5, 4, 4), that of 14 M (1, 2, 2, 1, 1) at 64 pixels.
    It halves the image five times; a smaller `image_size`, a side or (height, width), skips the earliest halvings so
    that at least 4 x 4 remain. Initial values as in the authors' code. ValueError where an option cannot be built.
    """
    side = min(image_size) if isinstance(image_size, tuple | list) else image_size
    positive(classes=classes, image_channels=image_channels, image_size=side)
    if side < 8:
        raise ValueError(f"image_size takes 8 or more, not {image_size}")
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width takes a positive number, not {width!r}")
    whole = isinstance(layers, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in layers)
    if not whole or len(layers) != len(STAGES) or min(layers) < 1:
        raise ValueError(f"layers takes five whole numbers of 1 or more, one a stage, not {layers!r}")
    halvings = iter([1] * (HALVINGS - min(HALVINGS, (side // 4).bit_length() - 1)) + [2] * HALVINGS)

    c_last = to_eight(STEM * width)
    blocks: list[nn.Module] = [*conv_norm(image_channels, c_last, 3, next(halvings)), nn.SiLU(), separable(c_last)]
    for stage, ((channels, stride), count) in enumerate(zip(STAGES, layers, strict=True), 1):
        c_out = to_eight(channels * width)
        for number in range(1, count + 1):
            first = next(halvings) if number == 1 and stride == 2 else 1
            candidates = {name: bottleneck(c_last, c_out, *each, first) for name, each in CANDIDATES.items()}
            blocks.append(Choice(f"stage{stage}/block{number}", candidates))
            c_last = c_out
    last = to_eight(LAST * width)
    head = [*conv_norm(c_last, last, 1, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(last, HEAD, 1), nn.SiLU()]
    network = AsPublished(*blocks, *head, nn.Flatten(), nn.Linear(HEAD, classes))
    network.reset_parameters()
    return Space(network)


class AsPublished(nn.Sequential):
    """A chain whose convolutions begin as N(0, 2 / (k^2 c_out / groups)), biases as zeros.

    The classifier begins uniform within 1 / sqrt(classes).
    """

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan = module.kernel_size[0] ** 2 * module.out_channels // module.groups
                nn.init.normal_(module.weight, 0, math.sqrt(2 / fan))
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def _excite(channels: int) -> nn.Module:
    hidden = to_eight(channels / 4)
    return SqueezeExcite(nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1))


def separable(channels: int) -> nn.Module:
    """The block before the stages, which nothing opens."""
    filters = [*conv_norm(channels, channels, 3, 1, channels), nn.SiLU(), _excite(channels)]
    return Residual(nn.Sequential(*filters, *conv_norm(channels, channels, 1, 1)))


def bottleneck(c_in: int, c_out: int, kernel: int, ratio: int, stride: int) -> nn.Module:
    """Expand, filter each channel, weigh channels, project; beside the identity where shapes allow it."""
    middle = to_eight(c_in * ratio)
    layers = [*conv_norm(c_in, middle, 1, 1), nn.SiLU(), *conv_norm(middle, middle, kernel, stride, middle), nn.SiLU()]
    body = nn.Sequential(*layers, _excite(middle), *conv_norm(middle, c_out, 1, 1))
    return Residual(body) if stride == 1 and c_in == c_out else body
