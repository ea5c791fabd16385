import io

import numpy as np
import pytest
from PIL import Image

from winnow.core.errors import Refused
from winnow.data import decode
from winnow.data.decode import decode_all, resize_all


def decoded(files: list[bytes], size: int | None = None) -> np.ndarray:
    return decode_all(((f"row {i}", data) for i, data in enumerate(files)), len(files), size)[0]


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
