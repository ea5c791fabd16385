"""SPOS: multiply-accumulates of the published paths at 224 x 224 and 1000 classes."""

import random

import pytest
import torch

from winnow.core.choosers import uniform
from winnow.measure.cost import macs, params
from winnow.spaces.mobile import KERNELS, mobile

CHOICES = tuple(KERNELS)  # published choices 0 to 3
RELEASED = "2 1 0 1 2 0 2 0 2 0 2 3 0 0 0 0 3 2 3 3"


@pytest.fixture(scope="module")
def space():
    with torch.device("meta"):
        return mobile(final=True)


def path(space, numbers: list[int]) -> torch.nn.Module:
    return space.derive({f"block/{i}": CHOICES[number] for i, number in enumerate(numbers)})


@pytest.mark.parametrize(("choice", "millions"), [(0, 295.84), (1, 313.65), (2, 340.37), (3, 358.83)])
def test_one_choice_everywhere_costs_what_was_published(space, choice, millions):
    assert macs(path(space, [choice] * 20), (3, 224, 224)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_released_path_costs_what_was_published(space):
    child = path(space, [int(number) for number in RELEASED.split()])
    assert macs(child, (3, 224, 224)) / 1e6 == pytest.approx(322.92, abs=0.005)
    assert 3.5e6 <= params(child) < 3.6e6  # published with one decimal


def test_every_path_lies_between_the_extremes(space):
    rng = random.Random(0)
    for _ in range(3):
        child = space.derive(space.decide(uniform(rng)))
        assert 295.84e6 < macs(child, (3, 224, 224)) < 358.83e6


def test_the_space_has_the_published_size(space):
    assert space.count() == 4**20 == 1_099_511_627_776


def test_the_image_is_halved_to_no_less_than_four(space):
    with torch.device("meta"):
        spaces = {size: mobile(width=0.25, image_size=size) for size in (8, 28, 32)}
    for size, expected in [(224, 7), (32, 4), (28, 7), (8, 4)]:
        child = path(spaces.get(size, space), [0] * 20)
        features = child[:-5](torch.empty(1, 3, size, size, device="meta"))  # before pooling
        assert tuple(features.shape[2:]) == (expected, expected), size


def test_batch_norms_are_affine_in_the_final_network_only(space):
    with torch.device("meta"):
        search = mobile()
    for net, affine in ((search, False), (space, True)):
        norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {norm.affine for norm in norms} == {affine}
        assert [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)] == [0.1]
