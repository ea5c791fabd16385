"""One encoded image, upright and in one of three modes: 8-bit grey, 8-bit colour, or 16-bit grey."""

import contextlib
import io
import re
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

# Formats that are told by their first bytes and that Pillow reads without the help of another program.
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "PNG", "PPM", "PSD", "QOI", "TIFF", "WEBP")
GREY = {"1", "L", "LA", "La"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"}
GROUND = 128  # under transparent parts: neither black nor white strokes vanish on it
TRANSPARENT, FRAMES, UPPER = "transparent", "frames", "upper"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Unusable(Exception):
    """Why there is no image, in words that follow its place."""


@dataclass(frozen=True)
class Picture:
    """Pixels (channels, height, width), uint8, or uint16 for 16-bit grey; `seen`: what is worth counting.

    `whole`: height and width of the upright image, before it was resized.
    """

    pixels: np.ndarray
    seen: frozenset[str]
    whole: tuple[int, int]


def read_picture(data: bytes) -> tuple[Image.Image, frozenset[str]]:
    """The image in mode L, RGB or (16-bit grey) I, turned as the camera was held. Raises Unusable."""
    try:
        return _read(data)
    except Unusable:
        raise
    except Exception as error:  # on damaged bytes Pillow's readers raise whatever they stumble over
        raise Unusable(f"the image cannot be decoded ({_reason(error)})") from error


def _read(data: bytes) -> tuple[Image.Image, frozenset[str]]:
    seen = set()
    opened = Image.open(io.BytesIO(data), formats=FORMATS)
    image: Image.Image = opened
    if re.search(r";16[BLNS]", str(opened.tile)) and not image.mode.startswith("I"):
        seen.add(UPPER)
    image.load()
    if _has_frames(image, data):
        seen.add(FRAMES)
    held, scaled = orientation(image.info), image.mode == "I" and image.format == "PPM"  # to 16 bits, by its reader
    if held in TURNS and image.format != "TIFF":  # a TIFF is turned as it is loaded
        image = image.transpose(TURNS[held])
    if image.mode.startswith("I;16") or scaled:
        return Image.fromarray(np.asarray(image).astype(np.int32)), frozenset(seen)  # mode I: it can be resized
    if image.mode not in GREY | COLOUR:
        raise Unusable(f"pixels of mode {image.mode!r} are not supported; store 8 or 16 bit grey or colour")
    upright, transparent = _opaque(image)
    return upright, frozenset(seen | {TRANSPARENT} if transparent else seen)


def orientation(info: dict) -> int:
    """1 to 8 from EXIF, or else XMP; 1 where neither tells. No other tag is looked at: any of them may be damaged."""
    raw = info.get("exif")
    if raw is None and isinstance(profile := info.get("Raw profile type exif"), str):  # PNG as ImageMagick writes it
        with contextlib.suppress(ValueError):
            raw = bytes.fromhex("".join(profile.split("\n")[3:]))
    if isinstance(raw, bytes) and (found := _exif_orientation(raw)):
        return found
    for key in ("XML:com.adobe.xmp", "xmp"):
        text = info.get(key) or ""
        text = text.decode("latin-1") if isinstance(text, bytes) else str(text)
        if told := re.search(r"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])", text):
            return int(told[1])
    return 1


def _exif_orientation(raw: bytes) -> int | None:
    """Tag 274 of the first directory (TIFF 6.0, section 2: entries of 12 bytes); None where there is none in 1 to 8."""
    while raw.startswith(b"Exif\0\0"):
        raw = raw[6:]
    order = {b"II": "<", b"MM": ">"}.get(raw[:2])
    try:
        (start,) = struct.unpack_from(f"{order}I", raw, 4)
        (entries,) = struct.unpack_from(f"{order}H", raw, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", raw, place)
            if tag == 274:
                (value,) = struct.unpack_from(f"{order}{ {1: 'B', 4: 'I'}.get(kind, 'H') }", raw, place + 8)
                return value if value in range(1, 9) else None
    except struct.error:  # no byte order, or cut off
        return None
    return None


def _opaque(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image as L or RGB, transparent parts laid over GROUND, and whether there were any."""
    mode = "L" if image.mode in GREY else "RGB"
    clear = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    if not clear.has_transparency_data:
        # A palette goes by way of RGBA: straight to RGB it warns.
        return (image.convert("RGBA") if image.mode in ("P", "PA") else clear).convert(mode), False
    clear = clear.convert("RGBA")
    if clear.getchannel("A").getextrema()[0] == 255:
        return clear.convert(mode), False
    ground = Image.new("RGBA", clear.size, (GROUND, GROUND, GROUND, 255))
    return Image.alpha_composite(ground, clear).convert(mode), True


def _has_frames(image: Image.Image, data: bytes) -> bool:
    if image.format == "GIF":  # asking moves to the second frame, so not the one that is read
        with contextlib.suppress(Exception):  # damage behind the first frame
            opened: Any = Image.open(io.BytesIO(data), formats=("GIF",))
            return bool(opened.is_animated)
        return True
    return bool(getattr(image, "is_animated", False))


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    if isinstance(error, Image.DecompressionBombError):
        return f"it has more than {2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6} million pixels; shrink it beforehand"
    return (str(error).splitlines() or [type(error).__name__])[0]
