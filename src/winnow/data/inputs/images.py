"""Images: pixels normalised, and augmented a whole batch at once on its device; each image has its own numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from winnow.core.errors import Refused
from winnow.core.options import NotNegative
from winnow.data.labelled import with_channels
from winnow.data.loaders import Split, subset
from winnow.data.source import Columns, Source

IMAGE = "image"  # the column: uint8 (channels, height, width)
CHANNELS = (1, 3, 4)  # of an image that PIL or a camera makes


@dataclass(frozen=True)
class Augment:
    """`pad`: pixels of black border before cropping back to size; `flip`: mirror half of the images;
    `cutout`: side in pixels of a square set to the mean. 0 and False leave a step out.

    Source: pad-crop and flip He et al. 2016, arXiv:1512.03385; cutout DeVries and Taylor 2017, arXiv:1708.04552.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0


class Images:
    """x (b, channels, height, width) float32: pixels / 255, minus the mean, over the standard deviation by channel.

    `facts` have `shape`, `mean` and `std`. Refused where `augment` has more pixels than the images.
    """

    reads = (IMAGE,)

    def __init__(self, facts: Mapping[str, Any], augment: Augment | None = None):
        self.size, self.augment = tuple(facts["shape"][1:]), augment or Augment()
        side = min(self.size)
        for name, pixels in (("pad", self.augment.pad), ("cutout", self.augment.cutout)):
            if not 0 <= pixels < side:
                raise Refused(
                    f"augmentation {name} takes 0 to {side - 1} pixels on images of side {side}; got {pixels}"
                )
        self.moments = torch.tensor([facts["mean"], facts["std"]]) * 255
        if self.moments.shape[1] != facts["shape"][0]:
            raise ValueError(f"{self.moments.shape[1]} means and deviations of {facts['shape'][0]} channels")
        self.moments[1][self.moments[1] == 0] = 1  # a channel of one value becomes 0, not NaN

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Crop offsets (n, 2) as row and column, flips (n,) bool, centres (n, 2) of the squares."""
        augment, draws = self.augment, {}
        if augment.pad:
            draws["offsets"] = torch.randint(0, 2 * augment.pad + 1, (count, 2), generator=generator)
        if augment.flip:
            draws["flips"] = torch.rand(count, generator=generator) < 0.5
        if augment.cutout:
            sides = [torch.randint(0, side, (count,), generator=generator) for side in self.size]
            draws["centres"] = torch.stack(sides, 1)
        return draws

    def make(self, columns: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Tensor:
        images = crop_and_flip(columns[IMAGE], self.augment.pad, draws)
        if self.moments.device != images.device:
            self.moments = self.moments.to(images.device)
        shift, scale = self.moments[0].view(-1, 1, 1), 1 / self.moments[1].view(-1, 1, 1)
        x = images.to(torch.float32).sub_(shift).mul_(scale)
        return cutout(x, self.augment.cutout, draws["centres"]) if "centres" in draws else x


def augmented(
    facts: Mapping[str, Any], *, pad: NotNegative | None = None, flip: bool | None = None, cutout: NotNegative = 0
) -> Augment:
    """Unsaid (None): crops padded by an eighth of the side, flips where they keep the label."""
    side = min(facts["shape"][1:])
    return Augment(side // 8 if pad is None else pad, facts["symmetric"] if flip is None else flip, cutout)


def facts_of(shape: Sequence[int]) -> dict[str, object]:
    """What a builder is told of images of `shape` (channels, height, width); the one place where a size is made of it.

    `image_size` is the side where images are square, else (height, width).
    """
    channels, height, width = shape
    size = height if height == width else (height, width)
    return {"image_channels": channels, "image_height": height, "image_width": width, "image_size": size}


def shape_of(facts: Mapping[str, object]) -> tuple[int, int, int]:
    """(channels, height, width) of the images that `facts`, as `facts_of` makes them, tell of."""
    return facts["image_channels"], facts["image_height"], facts["image_width"]  # type: ignore[return-value]


def learnt(parts: Sequence[Columns], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`shape`, and `mean` and `std` by channel in units of full white (pixel / 255), exact, over all of `parts`."""
    shape = parts[0][IMAGE].shape[1:]
    counts = np.zeros((shape[0], 256), np.int64)
    for part in parts:
        for chunk in np.array_split(part[IMAGE], len(part[IMAGE]) // 1024 + 1):
            for channel, pixels in enumerate(chunk.swapaxes(0, 1)):
                counts[channel] += np.bincount(pixels.ravel(), minlength=256)
    share, value = counts / counts.sum(1, keepdims=True), np.arange(256) / 255
    mean = share @ value
    variance = (share * (value - mean[:, None]) ** 2).sum(1)
    return {"shape": list(shape), "mean": mean.tolist(), "std": np.sqrt(variance).tolist()}


def checked(source: Source) -> Source:
    """The source with channels alike in both parts; Refused where its images are none."""
    parts = source.parts()
    for name, part in parts.items():
        if IMAGE not in part.columns:
            raise Refused(f"the {name} part has columns {', '.join(part.columns)} and no {IMAGE!r}")
        _check_pixels(part.columns[IMAGE], name)
    channels = max(part.columns[IMAGE].shape[1] for part in parts.values())
    parts = {
        name: replace(part, columns={**part.columns, IMAGE: with_channels(part.columns[IMAGE], channels)})
        for name, part in parts.items()
    }
    shapes = [part.columns[IMAGE].shape[1:] for part in parts.values()]
    if shapes[0] != shapes[-1]:
        raise Refused(
            f"training images have shape {shapes[0]}, test images {shapes[-1]}; "
            "set data.image_size to bring them to one size"
        )
    symmetric = source.facts.get("symmetric", True)
    if not isinstance(symmetric, bool):
        kind = type(symmetric).__name__
        raise Refused(f"the source's fact symmetric is {symmetric!r} ({kind}); it takes True or False")
    told = source.with_parts(parts)
    return replace(
        told,
        facts={**source.facts, "symmetric": symmetric},
        notes=(*source.notes, *_dark(parts["train"].columns[IMAGE])),
    )


def _check_pixels(images: np.ndarray, name: str) -> None:
    """Refuse another shape than (n, channels, height, width), and other values than pixels, with what to write."""
    shape, hint = images.shape, ""
    if images.ndim == 3:
        hint = "; for grey images write images[:, None]"
    elif images.ndim == 4 and shape[3] in CHANNELS and shape[1] not in CHANNELS:
        hint = "; with the channels last, write images.transpose(0, 3, 1, 2)"
    if images.ndim != 4 or hint:
        raise Refused(f"the {name} images have shape {shape}; it takes (images, channels, height, width){hint}")
    if images.dtype == np.uint8:
        return
    if images.dtype.kind == "f":
        if nan := int(np.isnan(images).sum()):
            hint = f", {nan} of them NaN"
        elif images.min() >= 0 and images.max() <= 1:
            hint = ", all in 0 to 1: write (images * 255).round().astype(np.uint8)"
    raise Refused(f"the {name} images hold {images.dtype} values{hint}; it takes uint8 pixels (0 to 255)")


def _dark(images: np.ndarray) -> tuple[str, ...]:
    """A note where the pixels use a small part of their range, as wrongly scaled ones do."""
    largest = max(int(images[i : i + 1024].max()) for i in range(0, len(images), 1024))
    return (f"the largest pixel of the training images is {largest} of 255",) if largest < 64 else ()


def crop_and_flip(images: Tensor, pad: int, draws: Mapping[str, Tensor]) -> Tensor:
    """uint8 (b, c, h, w): each image padded with `pad` zeros, cut back to size at its offset, and mirrored if drawn."""
    if "offsets" not in draws and "flips" not in draws:
        return images
    b, c, h, w = images.shape
    device = images.device
    rows, columns = torch.arange(h, device=device), torch.arange(w, device=device)
    columns = columns.expand(b, w)
    if "flips" in draws:
        columns = torch.where(draws["flips"][:, None], w - 1 - columns, columns)
    rows = rows.expand(b, h)
    if "offsets" in draws:
        images = functional.pad(images, (pad,) * 4)
        rows, columns = rows + draws["offsets"][:, :1], columns + draws["offsets"][:, 1:]
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


def smaller(split: Split, steps: int) -> Split:
    """The images of `split` after `steps` halvings of their square: 32 pixels are 8 after four."""
    height, width = (max(1, round(side * 2 ** (-steps / 2))) for side in split.facts["shape"][1:])
    pixels = functional.interpolate(split.held(IMAGE, "a smaller resolution").float(), (height, width), mode="area")
    whole = subset(split, slice(None), **{IMAGE: pixels.round().clamp(0, 255).to(torch.uint8)})
    facts = {**split.facts, "shape": [split.facts["shape"][0], height, width]}
    return replace(whole, facts=facts, inputs=Images(facts))
