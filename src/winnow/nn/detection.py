"""Detectors without anchors: features at several strides, a pyramid, a head; all a network says in one tensor.

    features = features_of(network, (c, h, w))      x (b, c, h, w) -> one map a stride, finest first
    neck = Pyramid(features.channels, width)        maps -> as many, of `width` channels each
    head = Head(width, classes, features.strides)   maps -> (b, locations, 8 + classes)

`Detector(features, neck, head)` is a network of task `detection`. Any neck that takes and gives a list of maps will do.
"""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.nn.blocks import conv_norm

BOX, POINT, STRIDE, CENTRE, SCORES = slice(0, 4), slice(4, 6), 6, 7, 8  # of the last axis; class logits are the rest
PRIOR = 0.01  # the chance of a class at any place that a new head tells
MOST = 8.0  # logarithm of the largest distance, in strides


class Features(nn.Module):
    """A chain of modules that is left at `taps`, positions in it: (b, c, h, w) to a list of maps, finest first.

    `channels` and `strides` are those of the maps.
    """

    def __init__(self, chain: nn.Sequential, taps: Sequence[int], channels: Sequence[int], strides: Sequence[int]):
        super().__init__()
        self.chain, self.taps = chain, tuple(taps)
        self.channels, self.strides = tuple(channels), tuple(strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, module in enumerate(self.chain):
            x = module(x)
            if number in self.taps:
                found.append(x)
        return found


def features_of(
    network: nn.Module, shape: tuple[int, int, int], strides: Sequence[int] | None = None, end: int | None = None
) -> Features:
    """The part of a chain that gives maps, left at the last module of each stride; weights are the network's own.

    `shape` is that of an image (channels, height, width); `strides`: None for the three coarsest. What comes after the
    last map, or after the first `end` modules, is left out. Refused where `network` is no nn.Sequential, and where
    it has no map at a stride.
    """
    if not isinstance(network, nn.Sequential):
        raise Refused(
            f"a {type(network).__name__} gives one answer and no maps between: it takes an nn.Sequential, whose stages "
            "come one after another"
        )
    part = cast(nn.Sequential, network[:end])
    chain = nn.Sequential(*_flat(part)) if type(part) is nn.Sequential else part
    found: dict[int, tuple[int, int]] = {}  # by stride: the last position, its channels
    for number, size in enumerate(_sizes(chain, shape)):
        stride = _stride(size[1:], shape[1:])
        if stride is not None:
            found[stride] = (number, size[0])
    wanted = sorted(found)[-3:] if strides is None else sorted(strides)
    if not wanted or (missing := [each for each in wanted if each not in found]):
        there = ", ".join(map(str, sorted(found))) or "none"
        what = f"stride {missing[0]}" if wanted else "any stride"
        raise Refused(f"the network has no map at {what} for images of {shape[1]} x {shape[2]}: there are {there}")
    taps, channels = zip(*(found[stride] for stride in wanted), strict=True)
    return Features(cast(nn.Sequential, chain[: max(taps) + 1]), taps, channels, wanted)


def _flat(network: nn.Module) -> list[nn.Module]:
    if type(network) is not nn.Sequential:  # others may draw their values as a whole
        return [network]
    return [module for child in network for module in _flat(child)]


def _sizes(chain: nn.Sequential, shape: tuple[int, int, int]) -> Iterator[tuple[int, int, int]]:
    """Channels, height and width after each module, until there is no map any more; modes stay as they were."""
    modes = {module: module.training for module in chain.modules()}
    device = next((each.device for each in chain.parameters()), torch.device("cpu"))
    x = torch.zeros(2, *shape, device=device)
    try:
        chain.eval()
        with torch.no_grad():
            for module in chain:
                x = module(x)
                if x.dim() != 4 or min(x.shape[2:]) == 1:
                    return
                yield x.shape[1], x.shape[2], x.shape[3]
    finally:
        for module, mode in modes.items():
            module.training = mode


def _stride(size: Sequence[int], whole: Sequence[int]) -> int | None:
    """The power of two by which a map is smaller, rounded up or down; None where it is none."""
    stride = 2 ** round(math.log2(whole[0] / size[0]))
    fits = all(side in (full // stride, math.ceil(full / stride)) for side, full in zip(size, whole, strict=True))
    return stride if fits else None


class Pyramid(nn.Module):
    """A feature pyramid network (Lin et al. 2017, arXiv:1612.03144, section 3), without extra levels.

    Maps of `channels`, finest first, to as many of `width` channels: a convolution of 1 x 1 each, then from the
    coarsest on what is coarser, by the nearest pixel, added; and one of 3 x 3.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        maps = [lateral(each) for lateral, each in zip(self.laterals, maps, strict=True)]
        found = [maps[-1]]
        for finer in reversed(maps[:-1]):
            found.insert(0, finer + F.interpolate(found[0], size=finer.shape[2:], mode="nearest"))
        return [smooth(each) for smooth, each in zip(self.smooth, found, strict=True)]


class Head(nn.Module):
    """The head of FCOS (Tian et al. 2019, arXiv:1904.01355, section 3), shared by all levels.

    Maps of `width` channels, finest first, to (b, locations, 8 + classes), level after level, row after row. Of each
    location: its box x1, y1, x2, y2 and its point x, y in pixels of the image, its stride, the logits of its
    centre-ness and of each class. Boxes are exponentials of what is told, times a number a level that is learnt, times
    the stride. Each branch has `depth` convolutions of 3 x 3 with GroupNorm.
    """

    steady = True  # its layers are called for every level, the same ones always

    def __init__(self, width: int, classes: int, strides: Sequence[int], depth: int = 2):
        super().__init__()
        self.strides = tuple(strides)
        self.classify, self.locate = (nn.Sequential(*_tower(width, depth)) for _ in range(2))
        self.classes = nn.Conv2d(width, classes, 3, 1, 1)
        self.sides = nn.Conv2d(width, 4, 3, 1, 1)
        self.centre = nn.Conv2d(width, 1, 3, 1, 1)
        self.scales = nn.Parameter(torch.empty(len(self.strides)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Convolutions as N(0, 0.01), published; class logits begin at the chance `PRIOR`, sides at two strides."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, 0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(self.classes.bias, -math.log((1 - PRIOR) / PRIOR))  # type: ignore[arg-type]
        nn.init.constant_(self.sides.bias, math.log(2))  # type: ignore[arg-type]
        nn.init.ones_(self.scales)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([self._level(each, level) for level, each in enumerate(maps)], 1)

    def _level(self, x: Tensor, level: int) -> Tensor:
        stride = self.strides[level]
        spoken, located = self.classify(x), self.locate(x)
        sides = (self.sides(located).float() * self.scales[level]).clamp(max=MOST).exp() * stride
        points = centres(x.shape[2], x.shape[3], stride, x.device)
        left, top, right, bottom = sides.flatten(2).transpose(1, 2).unbind(2)
        across, down = points.unbind(1)
        box = torch.stack([across - left, down - top, across + right, down + bottom], 2)
        place = torch.cat([points, torch.full_like(points[:, :1], stride)], 1).expand(x.shape[0], -1, -1)
        told = torch.cat([self.centre(located), self.classes(spoken)], 1).flatten(2).transpose(1, 2)
        return torch.cat([box, place, told.float()], 2)


def centres(height: int, width: int, stride: int, device: torch.device | None = None) -> Tensor:
    """(height * width, 2): x and y, in pixels of the image, of the middle of each place of a map, row after row."""
    down, across = (torch.arange(n, device=device, dtype=torch.float32) * stride + stride / 2 for n in (height, width))
    grid = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([grid[1].flatten(), grid[0].flatten()], 1)


class Detector(nn.Module):
    """x (b, c, h, w) to (b, locations, 8 + classes), as its head gives them."""

    def __init__(self, features: nn.Module, neck: nn.Module, head: nn.Module):
        super().__init__()
        self.features, self.neck, self.head = features, neck, head

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.neck(self.features(x)))
        return out


def plain(image_channels: int = 3, width: int = 16, depth: int = 1) -> nn.Sequential:
    """A small backbone made by hand: five halvings of `depth` convolutions each, (b, c, h, w) to (b, 8 width, ...).

    Channels are `width`, 2, 4, 8 and 8 times as many, at strides 2 to 32.
    """
    layers: list[nn.Module] = []
    c_in = image_channels
    for times in (1, 2, 4, 8, 8):
        stage: list[nn.Module] = []
        for number in range(depth):
            stage += [*conv_norm(c_in, width * times, 3, 2 if number == 0 else 1), nn.ReLU()]
            c_in = width * times
        layers.append(nn.Sequential(*stage))
    return nn.Sequential(*layers)


def handmade(classes: int = 3, image_channels: int = 3, image_height: int = 128, image_width: int = 128) -> Detector:
    """A detector made by hand, to hold one against: `plain`, two convolutions a stage, at strides 4, 8 and 16."""
    shape = (image_channels, image_height, image_width)
    features = features_of(plain(image_channels, 16, 2), shape, (4, 8, 16))
    return Detector(features, Pyramid(features.channels, 32), Head(32, classes, features.strides))


def _tower(width: int, depth: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.GroupNorm(math.gcd(width, 8), width), nn.ReLU()]
    return layers
