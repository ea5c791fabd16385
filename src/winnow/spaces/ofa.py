"""The MobileNetV3 space of Once-for-All (Cai et al. 2020, arXiv:1908.09791): open kernels, widths and depths."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.space import Space
from winnow.holes.depth import Depth
from winnow.holes.elastic import Conv, Norm
from winnow.holes.transformed import TransformedDepthwise
from winnow.nn.blocks import Residual, SqueezeExcite, conv_norm
from winnow.spaces.options import positive, sizes

UNITS = (  # output channels, stride, activation, squeeze and excite
    (24, 2, nn.ReLU, False),
    (40, 2, nn.ReLU, True),
    (80, 2, nn.Hardswish, False),
    (112, 1, nn.Hardswish, True),
    (160, 2, nn.Hardswish, True),
)
STEM, LAST, HEAD = 16, 960, 1280
HALVINGS = 5  # stem, and units 1, 2, 3 and 5


def ofa(
    width: float = 1.0,
    kernels: Sequence[int] = (3, 5, 7),
    ratios: Sequence[int] = (3, 4, 6),
    depths: Sequence[int] = (2, 3, 4),
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
) -> Space:
    """Stem, five units of open depth, head; x is (batch, image_channels, height, width).

    Decisions "unit1/depth" (the unit's first so many blocks), and "unit1/block1/ratio" and "unit1/block1/kernel" of
    each block: 21,758,655,492,572,485,851 architectures. `width` multiplies all fixed channels; 1.2 is published, too,
    and ratios (2, 3, 4, 6) are those of FOX-NAS on a CPU. The published network halves the image five times, to 7 x 7
    at 224; a smaller `image_size`, a side or (height, width), skips the earliest halvings so that at least 4 x 4
    remain. Resolution is no decision: a space is for one. Initial values as in the authors' code.
    ValueError where an option is none that can be built.
    """
    side = min(image_size) if isinstance(image_size, tuple | list) else image_size
    positive(classes=classes, image_channels=image_channels, image_size=side)
    if side < 8:
        raise ValueError(f"image_size takes 8 or more, not {image_size}")
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width takes a positive number, not {width!r}")
    opened = {"kernels": kernels, "ratios": ratios, "depths": depths}
    kernels, ratios, depths = (sizes(name, given) for name, given in opened.items())
    halvings = iter([1] * (HALVINGS - min(HALVINGS, (side // 4).bit_length() - 1)) + [2] * HALVINGS)

    def channels(published: int) -> int:
        return to_eight(published * width)

    c_last = channels(STEM)
    layers: list[nn.Module] = [*conv_norm(image_channels, c_last, 3, next(halvings)), nn.Hardswish(), _fixed(c_last)]
    for unit, (published, stride, activation, excite) in enumerate(UNITS, 1):
        c_out, blocks = channels(published), []
        for number in range(1, max(depths) + 1):
            name = f"unit{unit}/block{number}"
            first = next(halvings) if number == 1 and stride == 2 else 1
            ratio, kernel = Number.open(f"{name}/ratio", ratios), Number.open(f"{name}/kernel", kernels)
            blocks.append(_block(c_last, c_out, ratio, kernel, first, activation, excite))
            c_last = c_out
        layers.append(Depth(f"unit{unit}/depth", blocks, depths))
    layers += [*conv_norm(c_last, channels(LAST), 1, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1)]
    layers += [nn.Conv2d(channels(LAST), channels(HEAD), 1, bias=False), nn.Hardswish(), nn.Flatten()]
    network = AsPublished(*layers, nn.Dropout(0.1), nn.Linear(channels(HEAD), classes))
    network.reset_parameters()
    return Space(network)


class AsPublished(nn.Sequential):
    """A chain whose convolutions begin as N(0, 2 / (k^2 c_out)), depthwise ones with all channels for c_out too.

    Biases begin as zeros, the classifier uniform within 1 / sqrt(inputs).
    """

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)))
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.in_features)
                nn.init.uniform_(module.weight, -bound, bound)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def to_eight(channels: float) -> int:
    """The nearest multiple of 8, halves up, 8 at least; the next one where that is below nine tenths of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _fixed(channels: int) -> nn.Module:
    """The block before the units, which nothing opens: depthwise 3 x 3, then pointwise."""
    return Residual(
        nn.Sequential(*conv_norm(channels, channels, 3, 1, channels), nn.ReLU(), *conv_norm(channels, channels, 1, 1))
    )


def _block(
    c_in: int, c_out: int, ratio: Number, kernel: Number, stride: int, activation: type[nn.Module], excite: bool
) -> nn.Module:
    """Expand by `ratio`, filter each channel, weigh channels, project; beside the identity where shapes allow it."""
    middle = ratio.map(lambda r: to_eight(c_in * r))
    layers = [Conv(c_in, middle), Norm(middle), activation()]
    layers += [TransformedDepthwise(middle, kernel, stride), Norm(middle), activation()]
    if excite:
        hidden = middle.map(lambda m: to_eight(m // 4))
        layers.append(SqueezeExcite(Conv(middle, hidden, bias=True), Conv(hidden, middle, bias=True)))
    body = nn.Sequential(*layers, Conv(middle, c_out), nn.BatchNorm2d(c_out))
    return Residual(body) if stride == 1 and c_in == c_out else body
