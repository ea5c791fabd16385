"""search.selections.likeliest and threshold."""

import itertools
import math
import random
from collections import Counter

import pytest
import torch

from tests.search.toys import cells, logits_of, mixed
from winnow.core.errors import Refused
from winnow.search.selections.likeliest import likeliest
from winnow.search.selections.magnitude import magnitude
from winnow.search.selections.threshold import threshold


def test_the_likeliest_are_those_of_a_full_enumeration():
    space = cells()
    weights = mixed(space, logits_of(space, scale=1.0))
    tables = [weights[name].double().log().tolist() for name in space.decisions]
    everything = sorted(-sum(row) for row in itertools.product(*tables))
    found = likeliest(space, weights, 50, random.Random(0))
    options = {d.name: d.options for d in space.decisions.values()}
    costs = [-sum(math.log(float(weights[n][options[n].index(o)])) for n, o in arch.items()) for arch in found]
    assert costs == pytest.approx(everything[:50], abs=1e-5)
    assert len({arch.digest for arch in found}) == 50
    assert sum(math.exp(-cost) for cost in everything) == pytest.approx(1, abs=1e-6)


def test_where_subsets_are_decided_they_are_drawn_from_the_weights():
    space = cells("darts", candidates="s2")
    weights = mixed(space, logits_of(space, scale=0.0))
    weights = {name: torch.tensor([0.9, 0.1]) for name in weights}
    found = likeliest(space, weights, 40, random.Random(0))
    for arch in found:
        space.check(arch)
    counts = Counter(value for arch in found for value in arch.values() if isinstance(value, str))
    assert counts["skip_connect"] > 5 * counts["sep_conv_3x3"]


@pytest.mark.parametrize("case", [("nas_bench_201", {}), ("darts", {"candidates": "s2"})])
def test_what_is_not_allowed_is_passed_over_for_the_next_likeliest(case):
    space = cells(case[0], **case[1])
    weights = mixed(space, logits_of(space, scale=1.0))
    first = likeliest(space, weights, 5, random.Random(0))
    rest = likeliest(space, weights, 5, random.Random(0), lambda arch: arch not in first)
    assert len(rest) == 5
    assert not set(rest) & set(first)
    if case[0] == "nas_bench_201":
        assert [*first, *rest] == likeliest(space, weights, 10, random.Random(0))
    with pytest.raises(
        Refused, match=r"none of the 1000 likeliest architectures is within .*raise those that select sets"
    ):
        likeliest(space, weights, 5, random.Random(0), lambda arch: False)


def test_threshold_takes_none_where_nothing_is_open():
    space = cells()
    closed = torch.tensor([0.3, 0.4, 0.2, 0.1, 0.4])
    weights = {name: closed for name in space.decisions} | {"3<-1": torch.tensor([0.0, 0.0, 0.0, 0.9, 0.8])}
    arch = threshold(space, weights, 0.5)
    assert arch["3<-1"] == "nor_conv_3x3"
    assert {value for name, value in arch.items() if name != "3<-1"} == {"none"}


def test_below_every_weight_threshold_is_magnitude():
    space = cells()
    weights = mixed(space, logits_of(space))
    assert threshold(space, weights, 0.0) == magnitude(space, weights) == threshold(space, weights)


def test_a_cell_without_none_keeps_its_heaviest():
    space = cells("darts", candidates="s2")
    weights = mixed(space, logits_of(space))
    assert threshold(space, weights, 0.99) == magnitude(space, weights)
