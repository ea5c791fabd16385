import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from winnow.core.errors import Refused
from winnow.data.sources import decode
from winnow.data.sources.decode import decode_all, resize_all


def decoded(files: list[bytes], size: int | None = None) -> np.ndarray:
    return described(files, size)[0]


def described(files: list[bytes], size: int | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    return decode_all(((f"row {i}", data) for i, data in enumerate(files)), len(files), size)


def saved(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def test_pixels_and_their_order_survive(encode, random_images):
    images = random_images(300, (3, 6, 5))  # more than one group of a thread
    files = [encode(image.transpose(1, 2, 0)) for image in images]
    assert (decoded(files) == images).all()


def test_grey_alone_has_one_channel_and_one_colour_image_makes_three(encode, random_images):
    grey, colour = random_images(1, (6, 6))[0], random_images(1, (6, 6, 3))[0]
    assert (decoded([encode(grey)] * 2) == grey).all()
    assert decoded([encode(grey)] * 2).shape == (2, 1, 6, 6)
    mixed = decoded([encode(grey), encode(colour), encode(grey)])
    assert mixed.shape == (3, 3, 6, 6)
    assert (mixed[0] == grey).all()
    assert (mixed[2] == grey).all()
    assert (mixed[1] == colour.transpose(2, 0, 1)).all()


def test_sixteen_bit_grey_is_scaled_and_not_clipped(encode):
    pixels = np.array([[0, 256], [32768, 65535]], np.uint16)
    assert decoded([encode(pixels)])[0, 0].tolist() == [[0, 1], [128, 255]]


def test_transparency_and_camera_rotation_are_handled(random_images):
    colour = Image.fromarray(random_images(1, (4, 6, 3))[0])
    palette = colour.quantize(8)
    assert decoded([saved(palette, transparency=bytes(range(8)))]).shape == (1, 3, 4, 6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90 degrees
    assert decoded([saved(colour, exif=exif)]).shape == (1, 3, 6, 4)


def test_resizing_cuts_the_centre_out(encode):
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 6:18] = 200  # the middle third and what the filter sees beyond it
    image = decoded([encode(wide), encode(np.full((4, 4, 3), 7, np.uint8))], size=4)
    assert image.shape == (2, 3, 4, 4)
    assert image[0].min() == 200
    assert (image[1] == 7).all()


@pytest.mark.parametrize("size", [(4, 6), [4, 6]])
def test_height_and_width_are_taken_in_that_order(encode, size):
    grey = np.zeros((8, 24), np.uint8)
    grey[:, 4:20] = 200  # the middle and what the filter sees beyond it
    image = decoded([encode(grey)], size=size)
    assert image.shape == (1, 1, 4, 6)
    assert image.min() == 200
    assert np.array_equal(resize_all(grey[None, None], size), image)
    assert resize_all(image, size) is image, "already of that size"


def test_two_sizes_are_refused_with_the_option_that_helps(encode):
    files = [encode(np.zeros((4, 4), np.uint8)), encode(np.zeros((5, 4), np.uint8))]
    with pytest.raises(Refused, match=r"row 1 is 5x4 pixels where row 0 is 4x4; set data.image_size"):
        decoded(files)


def test_damaged_images_are_refused_by_their_place(encode, random_images):
    for kind in ("PNG", "JPEG"):
        good = encode(random_images(1, (32, 32, 3))[0], kind)
        for bad in (good[: len(good) // 2], b"", b"not an image", b"\x00" * 100):
            with pytest.raises(Refused, match=r"^row 2: the image cannot be decoded"):
                decoded([good, good, bad, good])


def test_float_pixels_are_refused():
    with pytest.raises(Refused, match="row 0: pixels of mode 'F'"):
        decoded([saved(Image.fromarray(np.full((4, 4), np.nan, np.float32)), "TIFF")])


def test_more_than_fits_into_memory_is_refused(encode, monkeypatch):
    monkeypatch.setattr(decode.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100}))
    with pytest.raises(Refused, match=r"2 images of shape \(1, 8, 8\) take 0.0 GiB .* set data.image_size"):
        decoded([encode(np.zeros((8, 8), np.uint8))] * 2)


def test_resize_all_does_as_decoding_does(encode, random_images):
    images = random_images(3, (3, 9, 9))
    files = [encode(image.transpose(1, 2, 0)) for image in images]
    assert (resize_all(images, 4) == decoded(files, 4)).all()
    assert resize_all(images, None) is images


def icon(stroke: int, mode: str = "RGBA") -> Image.Image:
    """A line of one grey on a transparent ground."""
    image = Image.new(mode, (8, 8))
    for i in range(8):
        image.putpixel((i, i), (stroke, 255) if mode == "LA" else (stroke, stroke, stroke, 255))
    return image


@pytest.mark.parametrize("stroke", [0, 255])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_strokes_on_a_transparent_ground_are_seen_in_black_and_in_white(stroke, mode):
    images, notes = described([saved(icon(stroke, mode)), saved(Image.new("L", (8, 8)))])
    assert images.shape[1] == (1 if mode == "LA" else 3)
    assert sorted(np.unique(images[0])) == sorted({stroke, 128})
    assert notes == ("1 image(s) with transparent parts: laid over mid-grey (128)",)


def test_half_transparent_pixels_are_mixed_and_opaque_ones_are_left():
    half = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    half.putpixel((1, 0), (255, 0, 0, 128))
    assert decoded([saved(half)])[0, :, 0].T.tolist() == [[255, 0, 0], [192, 64, 64]]
    full = Image.new("RGBA", (2, 1), (9, 8, 7, 255))
    assert described([saved(full)])[1] == ()


def test_a_transparent_colour_of_a_palette_and_of_a_key():
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 250, 250, 250])
    palette.putpixel((1, 0), 1)
    assert decoded([saved(palette, transparency=0)])[0, 0].tolist() == [[128, 250]]
    keyed = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decoded([saved(keyed, transparency=(1, 2, 3))])[0, 0].tolist() == [[128, 4]]


@pytest.mark.parametrize(("largest", "shift"), [(15, 0), (255, 0), (256, 1), (4095, 4), (4096, 5), (65535, 8)])
def test_sixteen_bit_grey_is_scaled_by_the_range_of_all_images(encode, largest, shift):
    dim, bright = np.full((2, 2), largest // 2, np.uint16), np.full((2, 2), largest, np.uint16)
    eight = np.full((2, 2), 77, np.uint8)
    images, notes = described([encode(dim), encode(bright), encode(eight)])
    assert images[:, 0, 0, 0].tolist() == [(largest // 2) >> shift, largest >> shift, 77]
    assert images.dtype == np.uint8
    assert notes == (f"2 image(s) of 16-bit grey, up to {largest}: divided by {2**shift}",)
    assert decoded([encode(eight), encode(bright)], size=1)[1, 0, 0, 0] == largest >> shift


def test_sixteen_bits_in_other_files():
    assert decoded([b"P5 2 1 65535\n" + bytes([0, 0, 255, 255])])[0, 0].tolist() == [[0, 255]]
    assert decoded([saved(Image.fromarray(np.array([[0, 4095]], np.uint16)), "TIFF")])[0, 0].tolist() == [[0, 255]]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    colour = zlib.compress(b"\0" + struct.pack(">6H", 256, 512, 768, 65535, 0, 0))
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", colour) + chunk(b"IEND", b"")
    images, notes = described([png])
    assert images[0, :, 0].T.tolist() == [[1, 2, 3], [255, 0, 0]]
    assert notes == ("1 image(s) of 16-bit colour: the upper 8 bits are read",)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP", "MPO"])
def test_files_of_several_frames_are_counted(kind, random_images):
    frames = [Image.fromarray(image) for image in random_images(2, (8, 8, 3))]
    settings = {"lossless": True} if kind == "WEBP" else {}
    several = saved(frames[0], kind, save_all=True, append_images=frames[1:], **settings)
    alone = saved(frames[0], kind.replace("MPO", "JPEG"), **settings)
    images, notes = described([several, alone])
    assert (images[0] == images[1]).all()
    assert notes == ("1 file(s) of several pages or frames: the first of each is read",)


def tag(number: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHI", number, kind, count) + value


def turned(how: str, orientation: int, kind: str) -> bytes:
    """A file of 4x6 whose EXIF or XMP says how the camera was held, beside what confuses careful readers."""
    image = Image.fromarray(np.arange(72, dtype=np.uint8).reshape(4, 6, 3) * 3)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    value = struct.pack("<HH", orientation, 0)
    broken = {
        "a negative fraction": tag(282, 10, 1, struct.pack("<I", 38)) + b"\0" * 4 + struct.pack("<ii", -1, 0),
        "text for a number": tag(282, 2, 4, b"abc\0") + b"\0" * 4,
        "a place outside": tag(282, 5, 1, struct.pack("<I", 2**31)) + b"\0" * 4,
        "cut off": b"",
    }
    if how == "xmp":
        key = {"PNG": "pnginfo", "WEBP": "xmp", "JPEG": "xmp"}[kind]
        text = f'<x xmlns:tiff="t" tiff:Orientation="{orientation}"/>'
        packet = PngImagePlugin.PngInfo()
        packet.add_itxt("XML:com.adobe.xmp", text)
        return saved(image, kind, **{key: packet if kind == "PNG" else text.encode()}, **lossless)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + tag(274, 3, 1, value) + broken[how]
    return saved(image, kind, exif=exif, **lossless)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("how", ["a negative fraction", "text for a number", "a place outside", "cut off", "xmp"])
def test_the_camera_is_turned_whatever_else_its_tags_say(kind, how):
    plain = decoded([turned(how, 1, kind)])[0]
    assert plain.shape == (3, 4, 6)
    assert (decoded([turned(how, 9, kind)])[0] == plain).all()
    upright = {  # EXIF 2.32, tag 274: which sides of the stored rows and columns are the top and the left
        2: plain[:, :, ::-1],
        3: plain[:, ::-1, ::-1],
        4: plain[:, ::-1],
        5: plain.transpose(0, 2, 1),
        6: plain[:, ::-1].transpose(0, 2, 1),
        7: plain[:, ::-1, ::-1].transpose(0, 2, 1),
        8: plain.transpose(0, 2, 1)[:, ::-1],
    }
    for orientation, expected in upright.items():
        assert (decoded([turned(how, orientation, kind)])[0] == expected).all(), orientation


def test_all_damaged_images_are_named_in_one_sentence(encode):
    good = encode(np.zeros((8, 8), np.uint8))
    floats = saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(Refused) as refused:
        decoded([b"junk", good, b"", floats] + [b"x"] * 30)
    message = str(refused.value)
    assert message.startswith(
        "33 images cannot be used; the image cannot be decoded (no known image format): row 0, row 2"
    )
    assert " and 12 more; pixels of mode 'F' are not supported" in message
    assert message.endswith(": row 3")


def test_an_image_of_too_many_pixels_says_what_helps():
    header = b"P5 20000 10000 255\n"
    with pytest.raises(Refused, match=r"it has more than 178 million pixels; shrink it beforehand"):
        decoded([header + bytes(100)])


def test_no_reader_that_runs_programs_is_asked():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n"
    with pytest.raises(Refused, match="no known image format"):
        decoded([eps])
