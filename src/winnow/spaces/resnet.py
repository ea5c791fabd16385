"""Residual networks of open bits and inner widths (SPOS, Guo et al. 2020, arXiv:1904.00420, section 4.3)."""

import math
from collections.abc import Sequence

import torch
from torch import nn

from winnow.core.decision import Decision, Number
from winnow.core.options import Rate
from winnow.core.space import Space
from winnow.holes.bits import pair
from winnow.holes.elastic import Norm
from winnow.holes.quantised import CLIP, QuantisedConv
from winnow.spaces.mobile import part_of
from winnow.spaces.options import positive, shares

PAIRS = ("w1a2", "w2a2", "w1a4", "w2a4", "w3a4", "w4a4")  # as the paper is remembered: no code was released
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
STEM = 64  # channels, which each stage but the first doubles
HALVINGS = 5  # stem, pooling and three of the stages


def resnet(
    depth: int = 18,
    bits: Sequence[str] = PAIRS,
    channels: Sequence[int] | None = None,
    width: Rate = 1.0,
    clip: Rate = CLIP,
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
) -> Space:
    """A ResNet of 18 or 34 layers; decisions "stage1/block1/bits" ..., for all convolutions of a block, shortcut too.

    "w2a4" are 2 bits a weight and 4 an activation; 32 are floats, so that w32a32 alone gives the float network to begin
    with (`search.spos.pretrained`). Stem and classifier are floats, and so are sums beside shortcuts; what each
    convolution takes is rounded, up to a `clip` that is learnt and begins there. `channels`, percent, opens the maps
    inside blocks, "stage1/block1/channels", rounded down; null: they are not open. How the paper searched them is not
    known, nor whether its bits were of blocks or of layers: both are readings of ours.

    x is (batch, image_channels, height, width). A smaller `image_size` than 224 skips the earliest of five halvings so
    that at least 4 x 4 remain. ValueError where an option cannot be built.
    """
    side = min(image_size) if isinstance(image_size, tuple | list) else image_size
    positive(classes=classes, image_channels=image_channels, image_size=side)
    if side < 8:
        raise ValueError(f"image_size takes 8 or more, not {image_size}")
    if depth not in BLOCKS:
        raise ValueError(f"depth takes {' or '.join(map(str, BLOCKS))}, not {depth!r}")
    for name, value in (("width", width), ("clip", clip)):
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name} takes a positive number, not {value!r}")
    pairs, percents = _pairs(bits), None if channels is None else shares("channels", channels)
    halved = min(HALVINGS, (side // 4).bit_length() - 1)
    halvings = iter([1] * (HALVINGS - halved) + [2] * halved)

    c_last = max(1, round(STEM * width))
    stem: list[nn.Module] = [nn.Conv2d(image_channels, c_last, 7, next(halvings), 3, bias=False)]
    stem += [nn.BatchNorm2d(c_last), nn.ReLU()]
    if next(halvings) == 2:
        stem.append(nn.MaxPool2d(3, 2, 1))
    blocks: list[nn.Module] = []
    for stage, count in enumerate(BLOCKS[depth], 1):
        c_out = max(1, round(STEM * width)) * 2 ** (stage - 1)
        for number in range(1, count + 1):
            name = f"stage{stage}/block{number}"
            middle = None if percents is None else Number.open(f"{name}/channels", percents).map(part_of(c_out))
            stride = next(halvings) if number == 1 and stage > 1 else 1
            blocks.append(Block(Decision(f"{name}/bits", pairs), c_last, c_out, middle or c_out, stride, clip))
            c_last = c_out
    network = AsPublished(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_last, classes))
    network.reset_parameters()
    return Space(network)


class Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, which is one of 1 x 1 where shapes change (He et al. 2016)."""

    def __init__(self, bits: Decision, c_in: int, c_out: int, middle: Number | int, stride: int, clip: float):
        super().__init__()
        self.body = nn.Sequential(
            QuantisedConv(bits, c_in, middle, 3, stride, clip),
            nn.BatchNorm2d(middle) if isinstance(middle, int) else Norm(middle),
            nn.ReLU(),
            QuantisedConv(bits, middle, c_out, 3, 1, clip),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.shortcut = nn.Sequential(QuantisedConv(bits, c_in, c_out, 1, stride, clip), nn.BatchNorm2d(c_out))
        self.last = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = self.last(self.body(x) + self.shortcut(x))
        return total


class AsPublished(nn.Sequential):
    """A chain whose convolutions begin as N(0, 2 / (k^2 c_out)) (He et al. 2015, arXiv:1502.01852)."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / (module.kernel_size[0] ** 2 * module.out_channels)))


def _pairs(given: Sequence[str]) -> tuple[str, ...]:
    """In the order given. ValueError, with the option's name, on what are no different pairs of bits."""
    if not isinstance(given, list | tuple) or not given:
        raise ValueError(f"bits takes a list such as {list(PAIRS)}, not {given!r}")
    for each in given:
        pair(each)
    if len(set(given)) < len(given):
        raise ValueError(f"bits takes each pair once, not {list(given)}")
    return tuple(given)
