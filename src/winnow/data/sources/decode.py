"""Encoded images (JPEG, PNG, …) to uint8 arrays with Pillow, on a few threads and with one buffer for the result."""

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import psutil
from PIL import Image, ImageOps

from winnow.core.errors import Refused
from winnow.data.labelled import with_channels
from winnow.data.source import ImageSize, sides
from winnow.data.sources.pixels import FRAMES, GROUND, TRANSPARENT, UPPER, Picture, Unusable, read_picture
from winnow.system.machine import usable_cores

BLOCK, HELD = 2048, 256 << 20  # images and bytes in flight: bounds the memory beside the result
GROUP = 128  # images a task: amortises the hand-over to a thread
NAMED = 20  # images named for one reason
SAID = {
    TRANSPARENT: "{} image(s) with transparent parts: laid over mid-grey (128)",
    FRAMES: "{} file(s) of several pages or frames: the first of each is read",
    UPPER: "{} image(s) of 16-bit colour: the upper 8 bits are read",
}

Fit = Callable[[Image.Image, ImageSize], Image.Image]
Encoded = tuple[str, bytes | Unusable]  # a place, for messages, and the bytes of a file or why there are none


def decode_all(encoded: Iterable[Encoded], count: int, size: ImageSize) -> tuple[np.ndarray, tuple[str, ...]]:
    """(count, channels, height, width) uint8 from `count` encoded images, and what was done to them, in sentences.

    Three channels if any image has a colour mode, else one. With `size`, a side or (height, width), an image is resized
    until it just covers that and the centre cut out; without, all images must have one size. 16-bit grey keeps the
    upper 8 of the bits that the largest value of all these images needs. Refused on bytes that are no image, naming the
    places of all such.
    """
    return decode_sized(encoded, count, size, _fitted)[:2]


def decode_sized(
    encoded: Iterable[Encoded], count: int, size: ImageSize, fit: Fit
) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """The same, brought to `size` by `fit`; and (count, 2) the heights and widths that the images had before."""
    pile, threads = _Pile(count), min(8, usable_cores())
    bad: dict[str, list[str]] = {}
    with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on tags that are not read
        for block in _blocks(encoded):
            each = min(GROUP, math.ceil(len(block) / threads))
            groups = [block[i : i + each] for i in range(0, len(block), each)]
            pictures = itertools.chain.from_iterable(pool.map(partial(_decode_group, size=size, fit=fit), groups))
            for (place, _), picture in zip(block, pictures, strict=True):
                if isinstance(picture, Unusable):
                    bad.setdefault(str(picture), []).append(place)
                elif not bad:
                    pile.add(place, picture)
    if bad:
        raise Refused(all_bad(bad, "images"))
    return *pile.finished(), np.array(pile.wholes)


def resize_all(images: np.ndarray, size: ImageSize) -> np.ndarray:
    """Decoded images (n, channels, h, w) brought to `size` as `decode_all` does; None leaves them."""
    if size is None or images.shape[2:] == sides(size):
        return images
    planes = (Image.fromarray(plane) for image in images for plane in image)
    resized = [np.asarray(_fitted(plane, size)) for plane in planes]
    return np.stack(resized).reshape(*images.shape[:2], *sides(size))


class _Pile:
    """The images so far, in one array; `deep` marks those of 16 bits, which share one scale in the end."""

    def __init__(self, count: int):
        self.count, self.done, self.first, self.largest = count, 0, "", 0
        self.seen: Counter[str] = Counter()
        self.images: np.ndarray | None = None
        self.wholes: list[tuple[int, int]] = []
        self.deep = np.zeros(count, bool)

    def add(self, place: str, picture: Picture) -> None:
        pixels = picture.pixels
        if self.images is None:
            self.images, self.first = _room(self.count, pixels), place
        if pixels.shape[1:] != self.images.shape[2:]:
            raise Refused(_two_sizes(self.first, self.images.shape, place, pixels.shape))
        if self.done == self.count:
            raise Refused(f"more than the {self.count} expected images came")
        if pixels.dtype == np.uint16:
            self.images = self.images.astype(np.uint16, copy=False)
            self.deep[self.done], self.largest = True, max(self.largest, int(pixels.max()))
        self.images = with_channels(self.images, len(pixels))  # the first colour image after grey ones
        self.images[self.done] = pixels  # a grey image broadcasts to all channels
        self.seen.update(picture.seen)
        self.wholes.append(picture.whole)
        self.done += 1

    def finished(self) -> tuple[np.ndarray, tuple[str, ...]]:
        if self.images is None or self.done != self.count:
            raise Refused(f"{self.done} images came where {self.count} were expected")
        said = tuple(SAID[fact].format(n) for fact, n in sorted(self.seen.items()))
        if self.images.dtype == np.uint8:
            return self.images, said
        shift = max(self.largest.bit_length() - 8, 0)
        np.right_shift(self.images, shift, out=self.images, where=self.deep[:, None, None, None])
        said += (f"{self.deep.sum()} image(s) of 16-bit grey, up to {self.largest}: divided by {2**shift}",)
        return self.images.astype(np.uint8), said


def _blocks(encoded: Iterable[Encoded]) -> Iterator[list[Encoded]]:
    block, held = [], 0
    for pair in encoded:
        block.append(pair)
        held += 0 if isinstance(pair[1], Unusable) else len(pair[1])
        if len(block) == BLOCK or held >= HELD:
            yield block
            block, held = [], 0
    if block:
        yield block


def _decode_group(group: list[Encoded], size: ImageSize, fit: Fit) -> list[Picture | Unusable]:
    return [_decode(data, size, fit) for _, data in group]


def _decode(data: bytes | Unusable, size: ImageSize, fit: Fit) -> Picture | Unusable:
    if isinstance(data, Unusable):
        return data
    try:
        image, seen = read_picture(data)
        pixels = np.asarray(fit(image, size))
    except Unusable as why:
        return why
    if image.mode == "I":
        pixels = pixels.astype(np.uint16)
    whole = (image.height, image.width)
    return Picture(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1), seen, whole)


def _room(count: int, pixels: np.ndarray) -> np.ndarray:
    """An empty array for all images; Refused where it and the splits made of it cannot fit into memory."""
    needed, free = count * pixels.nbytes, psutil.virtual_memory().available
    if 2 * needed > free:
        raise Refused(
            f"{count:,} images of shape {pixels.shape} take {2 * needed / 2**30:.1f} GiB of memory to prepare, "
            f"{free / 2**30:.1f} GiB are free; set data.image_size, or data.limit_train and data.limit_test"
        )
    return np.empty((count, *pixels.shape), pixels.dtype)


def _fitted(image: Image.Image, size: ImageSize) -> Image.Image:
    if size is None or image.size == (wanted := sides(size)[::-1]):  # Pillow says width first
        return image
    return ImageOps.fit(image, wanted, Image.Resampling.BILINEAR)


def contained(image: Image.Image, size: ImageSize) -> Image.Image:
    """All of the image, as large as it fits into `size`, from the top left; the rest is mid-grey."""
    if size is None or image.size == (wanted := sides(size)[::-1]):
        return image
    scale = min(wanted[0] / image.width, wanted[1] / image.height)
    inner = (min(wanted[0], max(1, round(image.width * scale))), min(wanted[1], max(1, round(image.height * scale))))
    whole = Image.new(image.mode, wanted, (GROUND,) * len(image.getbands()) if len(image.getbands()) > 1 else GROUND)
    whole.paste(image.resize(inner, Image.Resampling.BILINEAR))
    return whole


def all_bad(places: dict[str, list[str]], what: str) -> str:
    """One sentence on all of `what` (images, clips) that cannot be used, by the reason."""
    count = sum(map(len, places.values()))
    if count == 1:
        return next(f"{place}: {why}" for why, (place,) in places.items())
    said = []
    for why, named in places.items():
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        said.append(f"{why}: {', '.join(named[:NAMED])}{more}")
    return f"{count} {what} cannot be used; {'; '.join(said)}"


def _two_sizes(first: str, shape: tuple[int, ...], place: str, other: tuple[int, ...]) -> str:
    return (
        f"{place} is {other[1]}x{other[2]} pixels where {first} is {shape[2]}x{shape[3]}; "
        "set data.image_size to bring all images to one size"
    )
