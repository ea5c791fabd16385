"""Synthetic feature maps that Eproxy's regression is asked for: plain functions of (images, channels, generator).

Each returns (n, channels, 8, 8). The published maps are files that could not be read; these are made anew after the
public generators of GenNAS: one two-dimensional sinusoid a map, new maps for every image. The low band is a guess.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 8
CHANNELS = 512
BANDS = {  # cycles a pixel: first, last, step
    "wave_l": (0.0125, 0.1125, 0.0125),
    "wave_m": (0.125, 0.35, 0.025),
    "wave_h": (0.375, 0.4875, 0.0125),
}


def dots(x: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """+1 or -1 everywhere."""
    return (torch.randint(0, 2, (len(x), channels, SIDE, SIDE), generator=generator) * 2 - 1).to(x)


def waves(band: str) -> Callable[[Tensor, int, torch.Generator], Tensor]:
    """sin(2 pi (f1 x +- f2 y) + phase), with frequencies, sign and phase drawn for each map."""
    first, last, step = BANDS[band]
    frequencies = torch.linspace(first, last, round((last - first) / step) + 1)

    def draw(x: Tensor, channels: int, generator: torch.Generator) -> Tensor:
        shape = (len(x), channels, 1, 1)
        f1, f2 = (frequencies[torch.randint(0, len(frequencies), shape, generator=generator)] for _ in range(2))
        sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
        phase = 2 * math.pi * torch.rand(shape, generator=generator)
        place = torch.arange(SIDE)
        return torch.sin(2 * math.pi * (f1 * place + sign * f2 * place[:, None]) + phase).to(x)

    return draw


@torch.no_grad()
def net(x: Tensor, channels: int, generator: torch.Generator) -> Tensor:
    """What a random network of six convolutions makes of the images, scaled to at most 1."""
    before = x.shape[1]
    for i, width in enumerate((64, 128, 256, 512, 1024, channels)):
        weight = torch.empty(width, before, 3, 3)
        nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
        x = F.conv2d(x, weight.to(x), padding=1)
        if i < 5:
            x = F.relu(F.batch_norm(x, None, None, training=True))
        if i in (1, 3) and min(x.shape[2:]) > 1:
            x = F.max_pool2d(x, 2)
        before = width
    x = F.interpolate(x, (SIDE, SIDE))
    return x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny)


FEATURES: dict[str, Callable[[Tensor, int, torch.Generator], Tensor]] = {
    "net": net,
    **{band: waves(band) for band in BANDS},
    "dot": dots,
}


def draw(names: Iterable[str], x: Tensor, generator: torch.Generator, channels: int = CHANNELS) -> Mapping[str, Tensor]:
    """Those features for the images `x`, drawn in the order of `FEATURES`."""
    wanted = set(names)
    return {name: make(x, channels, generator) for name, make in FEATURES.items() if name in wanted}
