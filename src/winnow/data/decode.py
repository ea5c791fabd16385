"""Encoded images (JPEG, PNG, …) to uint8 arrays with Pillow, on a few threads and with one buffer for the result."""

import io
import itertools
import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import psutil
from PIL import Image, ImageOps, UnidentifiedImageError

from winnow.core.errors import Refused
from winnow.core.machine import usable_cores
from winnow.data.source import ImageSize, sides, with_channels

GREY = {"1", "L", "LA", "I;16", "I;16L", "I;16B"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"}
BLOCK = 2048  # images in flight: bounds the memory beside the result
GROUP = 128  # images a task: amortises the hand-over to a thread


def decode_all(encoded: Iterable[tuple[str, bytes]], count: int, size: ImageSize) -> np.ndarray:
    """(count, channels, height, width) uint8 from `count` pairs of a place (for messages) and the file's bytes.

    Three channels if any image has a colour mode, else one. With `size`, a side or (height, width), an image is resized
    until it just covers that and the centre cut out; without, all images must have one size. Refused on bytes that are
    no image, naming the place.
    """
    result, first, done, stream = None, "", 0, iter(encoded)
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        while block := list(itertools.islice(stream, BLOCK)):
            groups = [block[i : i + GROUP] for i in range(0, len(block), GROUP)]
            pixels = itertools.chain.from_iterable(pool.map(partial(_decode_group, size=size), groups))
            for (place, _), image in zip(block, pixels, strict=True):
                if result is None:
                    result, first = _room(count, image.shape), place
                if image.shape[1:] != result.shape[2:]:
                    raise Refused(_two_sizes(first, result.shape, place, image.shape))
                result = with_channels(result, len(image))  # the first colour image after grey ones
                result[done] = image  # a grey image broadcasts to all channels
                done += 1
    if result is None or done != count:
        raise Refused(f"{done} images came where {count} were expected")
    return result


def resize_all(images: np.ndarray, size: ImageSize) -> np.ndarray:
    """Decoded images (n, channels, h, w) brought to `size` as `decode_all` does; None leaves them."""
    if size is None or images.shape[2:] == sides(size):
        return images
    planes = (Image.fromarray(plane) for image in images for plane in image)
    resized = [np.asarray(_fitted(plane, size)) for plane in planes]
    return np.stack(resized).reshape(*images.shape[:2], *sides(size))


def _decode_group(group: list[tuple[str, bytes]], size: ImageSize) -> list[np.ndarray]:
    return [_decode(place, data, size) for place, data in group]


def _decode(place: str, data: bytes, size: ImageSize) -> np.ndarray:
    """One image as (channels, height, width) uint8."""
    try:
        image = Image.open(io.BytesIO(data))
        image.load()
    except (UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Refused(f"{place}: the image cannot be decoded ({_reason(error)})") from error
    if "exif" in image.info:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # convert("L") would clip, not scale
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode not in GREY | COLOUR:
        raise Refused(f"{place}: pixels of mode {image.mode!r} are not supported; store 8 or 16 bit grey or colour")
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB warns about transparency
    image = _fitted(image.convert("L" if image.mode in GREY else "RGB"), size)
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _room(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """An empty array for all images; Refused where it and the splits made of it cannot fit into memory."""
    needed, free = count * math.prod(shape), psutil.virtual_memory().available
    if 2 * needed > free:
        raise Refused(
            f"{count:,} images of shape {shape} take {2 * needed / 2**30:.1f} GiB of memory to prepare, "
            f"{free / 2**30:.1f} GiB are free; set data.image_size, or data.limit_train and data.limit_test"
        )
    return np.empty((count, *shape), np.uint8)


def _fitted(image: Image.Image, size: ImageSize) -> Image.Image:
    if size is None or image.size == (wanted := sides(size)[::-1]):  # Pillow says width first
        return image
    return ImageOps.fit(image, wanted, Image.Resampling.BILINEAR)


def _reason(error: Exception) -> str:
    return "no known image format" if isinstance(error, UnidentifiedImageError) else str(error)


def _two_sizes(first: str, shape: tuple[int, ...], place: str, other: tuple[int, ...]) -> str:
    return (
        f"{place} is {other[1]}x{other[2]} pixels where {first} is {shape[2]}x{shape[3]}; "
        "set data.image_size to bring all images to one size"
    )
