"""Augmentation of a whole batch at once, on its device; every image has its own random numbers.

The numbers of an epoch are drawn before it starts, from a CPU generator, so a GPU run sees the same images as a CPU
run and no batch waits for a transfer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augment:
    """`pad`: pixels of black border before cropping back to size; `flip`: mirror half of the images;
    `cutout`: side in pixels of a square set to the mean. 0 and False leave a step out.

    Source: pad-crop and flip He et al. 2016, arXiv:1512.03385; cutout DeVries and Taylor 2017, arXiv:1708.04552.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0


@dataclass(frozen=True)
class Draws:
    """The random numbers of n images: crop offsets (n, 2) as row and column, flips (n,) bool, centres (n, 2)."""

    offsets: Tensor | None
    flips: Tensor | None
    centres: Tensor | None

    def to(self, device: torch.device) -> "Draws":
        return Draws(*(None if t is None else t.to(device) for t in (self.offsets, self.flips, self.centres)))

    def __getitem__(self, rows: slice) -> "Draws":
        return Draws(*(None if t is None else t[rows] for t in (self.offsets, self.flips, self.centres)))


def draw(augment: Augment, count: int, size: tuple[int, int], generator: torch.Generator) -> Draws:
    """The numbers for `count` images of `size` (height, width), from a CPU generator."""
    offsets = torch.randint(0, 2 * augment.pad + 1, (count, 2), generator=generator) if augment.pad else None
    flips = torch.rand(count, generator=generator) < 0.5 if augment.flip else None
    if not augment.cutout:
        return Draws(offsets, flips, None)
    centres = torch.stack([torch.randint(0, side, (count,), generator=generator) for side in size], 1)
    return Draws(offsets, flips, centres)


def crop_and_flip(images: Tensor, pad: int, draws: Draws) -> Tensor:
    """uint8 (b, c, h, w): each image padded with `pad` zeros, cut back to size at its offset, and mirrored if drawn."""
    if draws.offsets is None and draws.flips is None:
        return images
    b, c, h, w = images.shape
    device = images.device
    rows, columns = torch.arange(h, device=device), torch.arange(w, device=device)
    columns = columns.expand(b, w)
    if draws.flips is not None:
        columns = torch.where(draws.flips[:, None], w - 1 - columns, columns)
    rows = rows.expand(b, h)
    if draws.offsets is not None:
        images = functional.pad(images, (pad,) * 4)
        rows, columns = rows + draws.offsets[:, :1], columns + draws.offsets[:, 1:]
    width = images.shape[3]
    places = (rows[:, :, None] * width + columns[:, None, :]).view(b, 1, h * w)
    return images.flatten(2).gather(2, places.expand(b, c, h * w)).view(b, c, h, w)


def cutout(x: Tensor, side: int, centres: Tensor) -> Tensor:
    """Zero, in place, a square of `side` pixels around each image's centre, clipped at the border. x: (b, c, h, w)."""
    inside = [
        (place >= low) & (place < low + side)
        for place, low in (
            (torch.arange(x.shape[2 + axis], device=x.device), centres[:, axis, None] - side // 2) for axis in (0, 1)
        )
    ]
    outside = ~(inside[0][:, :, None] & inside[1][:, None, :])
    return x.mul_(outside[:, None].to(x.dtype))  # many times faster than masked_fill_
