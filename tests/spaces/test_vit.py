"""The vision transformers of AutoFormer: published counts, and what makes a smaller one the beginning of a larger."""

import functools

import pytest
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.measure.cost import macs, params
from winnow.nn.attention import Patches, RelativePlaces
from winnow.run.exporting import as_program
from winnow.spaces.vit import plain, vit
from winnow.train.seeds import materialise, seeded

T = (13, 192, [3.5, 3.5, 3, 3.5, 3, 3, 4, 4, 3.5, 4, 3.5, 4, 3.5], [*[3] * 10, 4, 3, 3])
S = (13, 384, [3, 3.5, 3, 3.5, *[4] * 7, 3.5, 4], [6, 6, 5, 7, 5, 5, 5, 6, 6, 7, 7, 6, 7])
B = (14, 576, [3.5, 3.5, 4, 3.5, 4, 3.5, 3.5, 3, 4, 4, 3, 4, 3, 3.5], [9, 9, 9, 9, 9, 10, 9, 9, 10, 9, 10, 9, 9, 10])
SMALL = {"heads": (1, 2), "ratios": (350, 400), "depths": (2, 3), "image_size": 32, "classes": 10}
TAUGHT = {"size": "micro", "image_size": 14, "classes": 5, "image_channels": 1}


def arch(depth: int, embedding: int, ratios: list[float], heads: list[int]) -> Architecture:
    answers: dict[str, int] = {"depth": depth, "embedding": embedding}
    for i, (ratio, h) in enumerate(zip(ratios, heads, strict=True), 1):
        answers |= {f"block{i}/ratio": int(100 * ratio), f"block{i}/heads": h}
    return Architecture.of(answers)


@functools.cache
def published(size: str, **options) -> Space:
    with torch.device("meta"):
        return vit(size, **{name: tuple(value) for name, value in options.items()})


@functools.cache
def small() -> Space:
    with seeded(0):
        return vit(**TAUGHT)


def test_the_one_made_by_hand_has_equal_blocks_with_mlps_four_times_as_wide():
    assert plain(small()) == arch(4, 48, [4] * 4, [3] * 4)
    assert plain(published("small")) == arch(14, 384, [4] * 14, [6] * 14)  # but for two blocks more, DeiT-S


@pytest.mark.parametrize(
    ("size", "count", "smallest", "largest"),
    [
        ("tiny", 1_056_964_608, 5_366_056, 10_517_272),
        ("small", 77_103_263_459_313, 13_057_320, 34_790_440),
        ("base", 10_108_977_168_384, 41_687_896, 76_882_264),
    ],
)
def test_the_ranges_have_their_published_sizes(size, count, smallest, largest):
    space = published(size)
    assert space.count() == count
    for place, expected in ((0, smallest), (-1, largest)):
        assert params(space.derive(space.decide(lambda d, place=place: d.values[place]))) == expected


@pytest.mark.parametrize(
    ("size", "answers", "parameters", "giga"),
    [("tiny", T, 5_867_944, 1.4819), ("small", S, 22_891_432, 5.1614), ("base", B, 53_691_688, 11.6912)],
)
def test_the_released_networks_have_their_published_sizes(size, answers, parameters, giga):
    space = published(size, ratios=(300, 350, 400))  # the released tiny one has a ratio beyond its own range
    child = space.derive(arch(*answers))
    assert params(child) == parameters
    assert macs(child, (3, 224, 224)) / 1e9 == pytest.approx(giga, abs=5e-5)


def test_the_papers_base_has_heads_of_eight_too():
    space = published("base", heads=(8, 9, 10))
    assert space.count() == 6_245_364_340_204_353
    assert params(space.derive(space.decide(lambda d: d.values[0]))) == 39_792_856


def test_blocks_and_a_small_network_have_their_worked_sizes():
    """Of the sheet's formula, by hand: one block, and (2, 96, (3.5, 4), (1, 2)) on images of 32 in patches of 8."""
    with torch.device("meta"):
        space = vit(embeddings=(96, 128), patch=8, **SMALL)
    assert params(space.derive(arch(2, 96, [3.5, 4], [1, 2]))) == 251_194
    for size, d, h, ratio, expected in (
        ("tiny", 192, 3, 3.5, 415_584),
        ("small", 384, 6, 4, 1_782_144),
        ("base", 576, 9, 4, 3_996_480),
    ):
        child = published(size).derive(arch(14, d, [ratio] * 14, [h] * 14))
        assert params(child[3][0]) == expected


def test_a_smaller_network_is_the_beginning_of_a_larger():
    """Element by element, and the rows of a head are the same however many heads there are."""
    space = small()
    one = space.derive(arch(2, 48, [2, 3], [2, 3])).state_dict()
    other = space.derive(arch(3, 64, [3, 4, 2], [3, 4, 2])).state_dict()
    for name, tensor in one.items():
        beginning = other[name][tuple(slice(size) for size in tensor.shape)]
        assert torch.equal(tensor, beginning), name
    assert one["3.0.0.body.1.qkv.weight"].shape == (3 * 2 * 16, 48)


def test_attention_is_what_the_formulas_say():
    """Written out pair by pair, with one head and with two."""
    torch.manual_seed(0)
    inner = RelativePlaces((2, 3), 4, 1)
    q, k, v = torch.randn(3, 1, 2, 7, 4).unbind(0)
    rows, columns = inner.places()
    assert rows[0].tolist() == rows[:, 0].tolist() == columns[0].tolist() == [0] * 7
    assert (rows[1, 1], columns[1, 1]) == (2, 2)
    assert (rows[1, 6], columns[1, 6]) == (3, 3), "one down, two right: cut off at 1"
    assert (rows[6, 1], columns[6, 1]) == (1, 1)
    for head in range(2):
        for a in range(7):
            to = [inner.keys[0, rows[a, b]] + inner.keys[1, columns[a, b]] for b in range(7)]
            logits = torch.stack([q[0, head, a] @ (k[0, head, b] + to[b]) for b in range(7)]) / 2
            given = [inner.values[0, rows[a, b]] + inner.values[1, columns[a, b]] for b in range(7)]
            expected = sum(w * (v[0, head, b] + given[b]) for b, w in enumerate(logits.softmax(0)))
            torch.testing.assert_close(inner(q, k, v)[0, head, a], expected)


def test_patches_are_those_of_a_convolution():
    conv, x = nn.Conv2d(3, 5, 4, 4), torch.randn(2, 3, 8, 12)
    expected = conv(x).flatten(2).transpose(1, 2)
    torch.testing.assert_close(Patches(4)(x) @ conv.weight.flatten(1).T + conv.bias, expected)


def test_the_first_token_is_not_in_the_mean_and_places_matter():
    child = materialise(small().derive(arch(2, 32, [2, 2], [2, 2])), "cpu", 0).eval()
    x = torch.randn(2, 1, 14, 14)
    assert child(x).shape == (2, 5)
    assert child[2](child[1](child[0](x))).shape == (2, 50, 32)
    assert not torch.allclose(child(x), child(x.flip(3)), atol=1e-5)
    assert abs(child[1].weight.std() - 0.02) < 0.005
    assert not child[1].bias.any()


@pytest.mark.parametrize(("side", "patch"), [(224, 16), (32, 4), (28, 4), (14, 2), (8, 1), ((14, 28), 2)])
def test_patches_fit_the_images(side, patch):
    with torch.device("meta"):
        assert vit("micro", image_size=side, depths=[1]).model[0].side == patch


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": "huge"}, "size takes tiny, small, base, micro, not 'huge'"),
        ({"patch": 5, "image_size": 32}, "patch 5 does not fill images of 32 x 32"),
        ({"patch": 0}, "patch takes a whole number of 1 or more, not 0"),
        ({"ratios": [0.5]}, "ratios takes a list of different whole numbers"),
        ({"heads": [2, 2]}, "heads takes a list of different whole numbers"),
    ],
)
def test_what_cannot_be_is_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        vit(**options)


def test_a_child_is_handed_over_for_batches_of_any_size():
    child = small().derive(small().decide(lambda d: d.values[0])).eval()
    program = as_program(child, (1, 14, 14)).module()
    for rows in (1, 3):
        x = torch.randn(rows, 1, 14, 14)
        torch.testing.assert_close(program(x), child(x))


def test_a_network_that_makes_a_number_of_the_batch_size_is_told_so():
    class Counting(nn.Module):
        def forward(self, x):
            return torch.cat([torch.ones(1, 1).expand(len(x), -1), x], 1)

    with pytest.raises(Refused, match=r"takes batches of one size only, as something .* write it with x.shape\[0\]"):
        as_program(Counting(), (4,))
