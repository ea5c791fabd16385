"""search.extremes: the cheapest and the dearest architecture against all there are, and against known sizes."""

import random
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from winnow.core.choosers import uniform
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.branches import Branches
from winnow.measure import cost
from winnow.proxies.sizes import sizes_of
from winnow.search.extremes import cheapest, dearest
from winnow.spaces import build

sys.path.insert(0, str(Path(__file__).parents[1] / "contracts"))
from space_cases import CASES, small

SHAPE = (2, 12, 8)


@pytest.mark.parametrize("name", ["replace", "user"])
def test_nothing_is_cheaper_or_dearer_where_all_can_be_tried(name):
    """The user's space nests, picks two of three, ties names, and shares a layer between places."""
    space = small(name)
    size = sizes_of(space, SHAPE)
    every = [size(arch) for arch in space.every()]
    assert len(every) == CASES[name].count
    for metric in ("params", "macs"):
        low, high = (extreme(space, lambda arch, metric=metric: size(arch)[metric]) for extreme in (cheapest, dearest))
        assert size(low)[metric] == min(each[metric] for each in every)
        assert size(high)[metric] == max(each[metric] for each in every)


@pytest.mark.parametrize("name", ["replace", "user", "mobile", "darts s2"])
def test_sizes_are_those_of_the_child_whatever_a_space_shares(name):
    space, draw = small(name), random.Random(1)
    shape = (2, 16, 24) if name == "mobile" else SHAPE
    size = sizes_of(space, shape)
    for _ in range(6):
        arch = space.decide(uniform(draw))
        child = space.derive(arch)
        assert (size(arch)["params"], size(arch)["macs"]) == (cost.params(child), cost.macs(child, shape))


def test_the_largest_cell_of_nas_bench_201_has_the_published_size():
    """Dong & Yang 2020: six 3 x 3 convolutions, 16 channels, five cells a stage; 1.531546 M parameters."""
    with torch.device("meta"):
        space = build("nas_bench_201", {"channels": 16, "cells": 5}, classes=10, image_channels=3, final=True)
    size = sizes_of(space, (3, 32, 32))
    arch = dearest(space, lambda arch: size(arch)["params"])
    assert set(arch.values()) == {"nor_conv_3x3"}
    assert size(arch)["params"] == 1_531_546
    assert size(cheapest(space, lambda arch: size(arch)["params"]))["params"] == 73_306


def cell(count: int, most: int, passing: bool) -> nn.Module:
    return Branches("c", {letter: nn.Identity() for letter in "abcde"[:count]}, most, passing)


def picked(pick: int, least: int | None) -> nn.Module:
    return Choice("c", {letter: nn.Identity() for letter in "abcde"}, pick, least=least)


@pytest.mark.parametrize(
    "hole",
    [cell(5, 5, True), cell(5, 2, True), cell(4, 3, False), picked(4, 2), picked(2, None), picked(3, 0)],
    ids=["any", "up to two", "one to three", "two to four", "two", "none to three"],
)
@pytest.mark.parametrize("prices", [(3, -1, 4, -2, 5), (-3, -1, -4, -2, -5), (3, 1, 4, 2, 5)])
def test_of_subsets_with_prices_that_add_up_the_extremes_are_those_of_all(hole, prices):
    space = Space(nn.Sequential(hole, Choice("d", {0: nn.Identity(), 7: nn.Identity()})))
    table = dict(zip("abcde", prices, strict=True))
    price = lambda arch: float(sum(table[option] for option in arch["c"]) + arch["d"])  # noqa: E731
    every = [price(arch) for arch in space.every()]
    assert price(cheapest(space, price)) == min(every)
    assert price(dearest(space, price)) == max(every)


def test_a_network_is_asked_for_its_price_once():
    space, asked = Space(nn.Sequential(cell(5, 5, True), Choice("d", {0: nn.Identity(), 7: nn.Identity()}))), []
    cheapest(space, lambda arch: asked.append(arch) or float(len(arch["c"]) + arch["d"]))
    assert len(asked) == len(set(asked))


def test_where_prices_do_not_add_up_rounds_go_on_until_nothing_gets_cheaper():
    """Down a stair of two decisions whose steps alternate: one decision at a time, each round a step for each."""
    steps = {letter: nn.Identity() for letter in range(5)}
    space = Space(nn.Sequential(Choice("a", dict(steps)), Choice("b", dict(steps))))
    price = lambda arch: float(9 - arch["a"] - arch["b"] if 0 <= arch["a"] - arch["b"] <= 1 else 99)  # noqa: E731
    found = cheapest(space, price)
    assert dict(found) == {"a": 4, "b": 4}
