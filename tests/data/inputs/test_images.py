"""The batched steps against plain loops over the images."""

import pytest
import torch

from winnow.data.inputs.images import Augment, Images, crop_and_flip, cutout


def draw(augment, count, size, generator):
    facts = {"shape": [1, *size], "mean": [0.5], "std": [0.5]}
    return Images(facts, augment).draw(count, generator)


def plain_crop_and_flip(images, pad, draws):
    """One image after the other, one pixel after the other."""
    result = torch.zeros_like(images)
    _, channels, height, width = images.shape
    for i, image in enumerate(images):
        down, right = draws["offsets"][i].tolist() if "offsets" in draws else (pad, pad)
        for y in range(height):
            for x in range(width):
                source_y, source_x = y + down - pad, x + right - pad
                target_x = width - 1 - x if "flips" in draws and draws["flips"][i] else x
                if 0 <= source_y < height and 0 <= source_x < width:
                    for c in range(channels):
                        result[i, c, y, target_x] = image[c, source_y, source_x]
    return result


def plain_cutout(x, side, centres):
    result = x.clone()
    for i, (row, column) in enumerate(centres.tolist()):
        top, left = row - side // 2, column - side // 2
        result[i, :, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
    return result


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(11)


@pytest.mark.parametrize("shape", [(12, 3, 8, 8), (12, 1, 5, 7)])
@pytest.mark.parametrize(("pad", "flip"), [(0, True), (2, False), (3, True), (0, False)])
def test_crop_and_flip_equal_the_plain_loops(shape, pad, flip, generator):
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    draws = draw(Augment(pad, flip), shape[0], shape[2:], generator)
    assert torch.equal(crop_and_flip(images, pad, draws), plain_crop_and_flip(images, pad, draws))


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_cutout_equals_the_plain_loop(side, generator):
    x = torch.randn(40, 2, 7, 9, generator=generator)
    centres = draw(Augment(cutout=side), 40, (7, 9), generator)["centres"]
    expected = plain_cutout(x, side, centres)
    assert torch.equal(cutout(x.clone(), side, centres), expected)
    assert torch.equal(cutout(x.clone(memory_format=torch.channels_last), side, centres), expected)


def test_cutout_of_the_recipe_is_sixteen_pixels_wide():
    x = torch.ones(2, 1, 32, 32)
    cutout(x, 16, torch.tensor([[16, 16], [0, 31]]))
    assert (x[0] == 0).sum() == 16 * 16
    assert (x[0, 0, 8:24, 8:24] == 0).all()
    assert (x[1] == 0).sum() == 8 * 9  # clipped at the corner


def test_draws_cover_their_range_evenly(generator):
    draws = draw(Augment(4, True, 16), 20_000, (32, 24), generator)
    for numbers, size in (
        (draws["offsets"][:, 0], 9),
        (draws["offsets"][:, 1], 9),
        (draws["centres"][:, 0], 32),
        (draws["centres"][:, 1], 24),
        (draws["flips"].long(), 2),
    ):
        counts = numbers.bincount()
        assert len(counts) == size
        assert counts.min() > 0.8 * 20_000 / size
    assert (draws["offsets"][:, 0] != draws["offsets"][:, 1]).any()


def test_draws_follow_the_generator():
    first, second, other = (draw(Augment(4, True, 7), 9, (8, 8), torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first["offsets"], second["offsets"])
    assert torch.equal(first["centres"], second["centres"])
    assert not torch.equal(first["offsets"], other["offsets"])


def test_nothing_asked_nothing_done(generator):
    state = generator.get_state()
    images = torch.ones(2, 1, 4, 4, dtype=torch.uint8)
    assert draw(Augment(), 2, (4, 4), generator) == {}
    assert crop_and_flip(images, 0, {}) is images
    assert torch.equal(generator.get_state(), state)
