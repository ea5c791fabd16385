"""Space detector: which backbones give maps, and where they are left."""

import math
import sys

import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.nn.detection import SCORES, Head, Pyramid, features_of, handmade, plain
from winnow.nn.resnet import resnet20
from winnow.spaces import build
from winnow.train.building import fresh, outline
from winnow.train.seeds import seeded

SMALL = {  # of each backbone: options, and the maps of images of 64 x 96 by stride
    "cream": ({"width": 0.25, "layers": [1, 1, 1, 1, 1]}, {4: 16, 8: 24, 16: 48}),
    "macro": ({"width": 0.125}, {2: 8, 4: 16, 8: 32}),
    "mobile": ({"width": 0.125}, {4: 20, 8: 40, 16: 80}),
    "ofa": ({"width": 0.25, "depths": [1, 2]}, {4: 16, 8: 32, 16: 40}),
    "plain": ({"width": 4}, {8: 16, 16: 32, 32: 32}),
    "resnet": ({"width": 0.125, "channels": [50, 100]}, {4: 16, 8: 32, 16: 64}),
}


def made(backbone: str, **options):
    facts = {"classes": 3, "image_channels": 3, "image_height": 64, "image_width": 96, "final": True}
    return build("detector", {"backbone": backbone, "width": 8, **options}, **facts)


@pytest.mark.parametrize("backbone", SMALL)
def test_maps_are_taken_at_the_coarsest_strides_and_the_classifier_is_left_out(backbone):
    options, maps = SMALL[backbone]
    space = outline(lambda: made(backbone, options=options), (3, 64, 96), drawn=True)
    features = space.model.features
    assert dict(zip(features.strides, features.channels, strict=True)) == maps
    assert not [module for module in features.modules() if isinstance(module, nn.Linear | nn.AdaptiveAvgPool2d)]
    if backbone != "plain":
        assert set(space.decisions) == set(build(backbone, options).decisions)
    child = fresh(space, space.decide(lambda d: d.values[0]), "cpu", 0).eval()
    with torch.no_grad():
        found = child(torch.randn(2, 3, 64, 96))
    places = sum((64 // stride) * (96 // stride) for stride in maps)
    assert found.shape == (2, places, SCORES + 3)
    assert found[..., 0].isfinite().all()


@pytest.mark.parametrize(
    ("backbone", "options", "said"),
    [
        (
            "mobile",
            {"options": {"width": 0.1}, "strides": [2, 32]},
            "no map at stride 32 for images of 64 x 96: there are",
        ),
        ("darts", {}, "backbone takes one of cream, macro, mobile, ofa, plain, resnet, not 'darts'"),
        ("mobile", {"options": {"wide": 3}}, "wide"),
    ],
)
def test_what_cannot_be_a_detector_is_a_sentence(backbone, options, said):
    with pytest.raises(Refused, match=said):
        made(backbone, **options)


def test_a_chain_of_ones_own_is_left_at_the_end_of_its_stages():
    network = resnet20(width=4)
    features = features_of(network, (3, 32, 32))
    assert (features.strides, features.channels) == ((1, 2, 4), (4, 8, 16))
    x = torch.randn(2, 3, 32, 32)
    assert [tuple(each.shape[2:]) for each in features.eval()(x)] == [(32, 32), (16, 16), (8, 8)]
    assert features.chain[0] is network[0]
    with pytest.raises(Refused, match=r"a Conv2d gives one answer and no maps between: it takes an nn\.Sequential"):
        features_of(nn.Conv2d(3, 3, 1), (3, 32, 32))


def test_looking_for_maps_leaves_a_network_as_it_was():
    network = plain(3, 4)
    network[0][1].eval()  # frozen
    before = {name: value.clone() for name, value in network.state_dict().items()}
    features_of(network, (3, 64, 64))
    assert not network[0][1].training
    assert network[1][1].training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_pyramid_takes_odd_sizes_and_hands_what_is_coarser_down():
    neck = Pyramid([3, 4, 5], 8)
    maps = [torch.randn(2, 3, 25, 13), torch.randn(2, 4, 13, 7), torch.randn(2, 5, 7, 4)]
    first = neck(maps)
    assert [tuple(each.shape) for each in first] == [(2, 8, 25, 13), (2, 8, 13, 7), (2, 8, 7, 4)]
    second = neck([*maps[:2], maps[2] + 1])
    assert not torch.allclose(first[0], second[0])
    assert torch.equal(neck([maps[0] + 1, *maps[1:]])[1], first[1])  # nothing goes up


def test_a_new_head_tells_small_chances_and_boxes_of_four_strides():
    with seeded(0):
        found = Head(8, 2, [4, 8])([torch.randn(1, 8, 4, 4), torch.randn(1, 8, 2, 2)]).detach()
    assert found.shape == (1, 20, SCORES + 2)
    assert found[..., SCORES:].sigmoid().mean() == pytest.approx(0.01, abs=0.002)
    sides = found[0, :, 2:4] - found[0, :, :2]
    assert (sides / found[0, :, 6:7] - 4).abs().max() < 0.5
    middle = (found[0, :, :2] + found[0, :, 2:4]) / 2
    assert ((middle - found[0, :, 4:6]) / found[0, :, 6:7]).abs().max() < 0.5


def test_auto_makes_a_detector_of_ones_own_smaller(tmp_path, monkeypatch):
    (tmp_path / "my_detector.py").write_text("from winnow.nn.detection import handmade as build\n")
    monkeypatch.syspath_prepend(tmp_path)
    facts = {"classes": 3, "image_channels": 3, "image_height": 32, "image_width": 32}
    space = build("auto", {"model": "my_detector:build", "elastic": ["width"], "widths": [0.5, 1.0]}, **facts)
    sys.modules.pop("my_detector")
    assert {name.split("/")[0] for name in space.decisions} == {"features", "neck", "head"}
    whole, small = (space.derive(space.decide(lambda d, at=at: d.values[at])) for at in (-1, 0))
    x = torch.randn(1, 3, 32, 32)
    assert whole(x).shape == small(x).shape == handmade(3, 3, 32, 32)(x).shape
    assert sum(p.numel() for p in small.parameters()) < 0.4 * sum(p.numel() for p in whole.parameters())


def test_a_scale_a_level_multiplies_the_logarithm_of_its_sides():
    """log 2 in strides is what a new head says of all of them; nothing beyond e^8."""
    head = Head(8, 2, [4, 8, 16])
    with torch.no_grad():
        head.sides.weight.zero_()
        head.scales.copy_(torch.tensor([0.5, 3.0, 99.0]))
    found = head([torch.randn(1, 8, 2, 2)] * 3).detach()[0]
    strides = found[:, 6]
    assert ((found[:, 2:4] - found[:, :2]) / strides[:, None] / 2).tolist() == [
        [pytest.approx(value, rel=1e-3)] * 2 for value in [2**0.5] * 4 + [8] * 4 + [math.exp(8)] * 4
    ]
