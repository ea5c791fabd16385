"""Every proxy on spaces of layers: a finite number that tells architectures apart, or a sentence that says why not."""

import copy
import functools
import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.proxies import PROXIES, az_nas, score
from winnow.proxies.aggregate import AGGREGATES
from winnow.proxies.common import FAN_IN, TRUNCATED
from winnow.proxies.scorer import scorer_of
from winnow.spaces import build
from winnow.train.seeds import seeded

sys.path.insert(0, str(Path(__file__).parent))
from cases import batch, draws

SPACES = {
    "mobile": {"width": 0.1},
    "ofa": {"width": 0.25, "depths": [1, 2]},
    "vit": {"size": "micro", "depths": [1, 2]},
    "resnet": {"width": 0.0625, "bits": ["w2a2", "w4a4"], "channels": [50, 100]},
    "cream": {"width": 0.25, "layers": [1, 1, 1, 1, 1]},
    "multibranch": {"operations": ["lb3_t1", "lb5_t3"], "branches": 2, "cells": [1, 0, 0, 0, 0, 0, 0], "width": 0.25},
}
REFUSED = {
    ("vit", "naswot"): "reads ReLUs, and this network calls none",
    ("vit", "linear_regions"): "reads ReLUs of feature maps, and this network has none",
    ("vit", "meco"): "channels of feature maps, and this network has no convolution",
    ("vit", "sed"): "reads kernels of convolutions and pools, and this network has none",
    ("vit", "eproxy"): "reads feature maps",
}
LEVEL = {  # equal for all, and why
    **{(space, "linear_regions"): "each image is in a region of its own" for space in SPACES if space != "vit"},
    ("resnet", "sed"): "no kernel is open",
}
SHARED = ("live_params", "synflow", "naswot", "meco", "snip")
SIDE, IMAGES = 8, 6


@functools.cache
def small(name: str) -> Space:
    with seeded(0):
        return build(name, SPACES[name], classes=4, image_channels=3, image_size=SIDE, final=True)


@functools.cache
def children(name: str) -> tuple:
    """Of two architectures that differ in every decision."""
    space = small(name)

    def turned(first: int):
        turn = itertools.count(first)
        return space.derive(space.decide(lambda d: d.values[next(turn) % len(d.values)]))

    return turned(0), turned(1)


@pytest.mark.parametrize("name", PROXIES)
@pytest.mark.parametrize("space", SPACES)
def test_a_finite_number_of_the_architecture_or_a_reason(space, name):
    one, other = children(space)
    if (space, name) in REFUSED:
        with pytest.raises(Refused, match=REFUSED[space, name]):
            score(name, one, batch(IMAGES, SIDE), draws())
        return
    first, again, second = (score(name, model, batch(IMAGES, SIDE), draws()) for model in (one, one, other))
    assert math.isfinite(first)
    assert math.isfinite(second)
    assert again == first
    assert (first == second) == ((space, name) in LEVEL)


def test_what_is_refused_is_a_reason_in_the_row_and_other_scores_stand():
    space = small("vit")
    arch = space.decide(lambda d: d.values[0])
    names = ["sed", "meco", "naswot", "trainability", "params"]
    (row,) = scorer_of(space, names, batch(IMAGES, SIDE), lambda name: draws())([arch])
    assert [name for name in names if math.isnan(row[name])] == ["sed", "meco", "naswot"]
    assert "meco: meco compares channels" in row["reason"]


@pytest.mark.parametrize("of", SPACES)
def test_a_score_with_shared_work_is_that_of_the_derived_child(of):
    """Of an elastic space `live_params` counted whole layers of the supernet."""
    space, names = small(of), [name for name in SHARED if (of, name) not in REFUSED]
    archs = [space.decide(lambda d, i=i: d.values[i]) for i in (0, -1)]
    for arch, row in zip(archs, scorer_of(space, names, batch(IMAGES, SIDE), lambda name: draws())(archs), strict=True):
        child = space.derive(arch)
        plain = {name: score(name, child, batch(IMAGES, SIDE), draws()) for name in names}
        assert {name: row[name] for name in names} == pytest.approx(plain, rel=1e-3)


def test_images_of_another_size_are_named_where_meco_brings_its_own():
    fixed = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 4, 4), torch.nn.Flatten(), torch.nn.Linear(8, 4))
    with pytest.raises(Refused, match="meco looks at one image of 64 x 64 pixels: the network does not take images of"):
        score("meco", fixed, batch(IMAGES, SIDE), draws())


def test_grasp_through_a_hard_sigmoid_is_that_of_the_same_function_written_out():
    class Gate(torch.nn.Module):
        def __init__(self, written: bool):
            super().__init__()
            self.written = written
            self.layer, self.head = torch.nn.Linear(6, 5), torch.nn.Linear(5, 4)

        def forward(self, x):
            x = self.layer(x.mean(3).flatten(1)[:, :6])
            return self.head(x * ((x / 6 + 0.5).clamp(0, 1) if self.written else torch.nn.functional.hardsigmoid(x)))

    gate, written = Gate(False), Gate(True)
    written.load_state_dict(gate.state_dict())
    found = [score("grasp", model, batch(IMAGES, SIDE), draws()) for model in (gate, written)]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0] != 0


# AZ-NAS on tokens


def test_the_features_of_a_transformer_are_the_tokens_behind_each_residual_block():
    space = small("vit")
    child = space.derive(space.decide(lambda d: d.values[-1]))  # two blocks, each of attention and an MLP
    features = az_nas.block_features(child, batch(IMAGES, SIDE)[0])
    assert [f.shape for f in features] == [(IMAGES, 1 + 64, 64)] * 5  # what enters, and behind four residual blocks


def test_weights_of_a_transformer_are_drawn_as_it_begins_and_of_others_for_relus():
    for space, init in (("vit", TRUNCATED), ("mobile", FAN_IN)):
        drawn, expected = (copy.deepcopy(children(space)[0]) for _ in range(2))
        az_nas.drawn(drawn, draws())
        init(expected, draws())
        assert all(torch.equal(a, b) for a, b in zip(drawn.parameters(), expected.parameters(), strict=True))


def test_a_block_of_tokens_that_does_nothing_is_passed_over_and_of_maps_it_is_the_worst():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, 5, 3, generator=generator, requires_grad=True)
    same = tokens * 1
    features = [tokens, same, same * 2]
    signs = az_nas.rademacher(features, generator)
    assert az_nas.mean_trainability(features, signs) == az_nas.mean_trainability(features[1:], signs[1:])
    maps = torch.randn(2, 3, 4, 4, generator=generator, requires_grad=True)
    same = [maps, maps * 1]
    assert az_nas.mean_trainability(same, az_nas.rademacher(same, generator)) == -math.inf


def test_doubling_tokens_has_a_singular_value_of_two():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(64, 200, 3, generator=generator, requires_grad=True)
    features = [tokens, tokens * 2]
    found = az_nas.mean_trainability(features, az_nas.rademacher(features, generator))
    assert float(found) == pytest.approx(2 - 2 - 0.5, abs=0.05)


def test_branches_of_a_cell_are_no_blocks_in_a_row():
    one, _ = children("multibranch")
    value = score("trainability", one, batch(IMAGES, SIDE), draws())
    assert value > -100  # a branch has no gradient to the one beside it, which counted as a singular value of 0: -1e6


def test_the_published_aggregate_of_transformers_leaves_progressivity_out():
    assert set(AGGREGATES["az_nas"]) - set(AGGREGATES["az_nas_vit"]) == {"progressivity"}
