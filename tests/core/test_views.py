"""core.space: a view asks for fewer answers of one and the same network."""

import itertools
import random

import pytest
import torch
from torch import nn

from winnow.core.choosers import crossover, mutate, uniform
from winnow.core.holes import Choice
from winnow.core.space import Space


class Scaled(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


def space() -> Space:
    branches = Choice("branches", {name: Scaled(f) for name, f in (("a", 1.0), ("b", 10.0), ("c", 100.0))}, 3, least=1)
    return Space(nn.Sequential(Choice("scale", {1: Scaled(1.0), 2: Scaled(2.0), 3: Scaled(3.0)}), branches))


X = torch.ones(1)


def test_a_view_asks_for_less_and_shares_everything():
    whole = space()
    view = whole.within({"scale": [1, 3], "branches": ["a", "c"]})
    assert (whole.count(), view.count()) == (3 * 7, 2 * 3)
    assert {id(p) for p in view.parameters()} == {id(p) for p in whole.parameters()}
    assert view.digest != whole.digest
    with pytest.raises(ValueError, match="takes one of 1, 3, not 2"):
        view.check({"scale": 2, "branches": ("a",)})
    with pytest.raises(ValueError, match="takes one of"):
        view.check({"scale": 1, "branches": ("a", "b")})
    arch = view.decide(lambda d: d.values[-1])
    assert dict(arch) == {"scale": 3, "branches": ("a", "c")}
    assert view(X, arch).item() == view.derive(arch)(X).item() == 3 * 101


def test_options_come_back_as_views_are_of_the_whole():
    narrow = space().within({"scale": [1]})
    assert narrow.within({"scale": [2, 3]}).count() == 2 * 7
    with pytest.raises(ValueError, match="no decision 'other' here, but one of 'scale', 'branches'"):
        narrow.within({"other": [1]})


def test_mixture_weights_are_those_of_the_options_that_are_left():
    view = space().within({"scale": [1, 3], "branches": ["a", "b"]})
    weights = torch.tensor([0.25, 0.75], requires_grad=True)
    mixed = view(X, {"scale": weights})  # what is undecided of a subset keeps all that is live
    assert mixed.item() == pytest.approx((0.25 + 2.25) * 11)
    mixed.sum().backward()
    assert weights.grad.tolist() == [11.0, 33.0]
    assert view.model[0].candidates["2"].factor.grad is None
    with pytest.raises(ValueError, match="zip"):
        view(X, {"scale": torch.ones(3)})


def test_weights_of_subsets_are_a_setting():
    mixed = space()(X, {"scale": 1, "branches": {("a", "b"): torch.tensor(0.5), ("c",): torch.tensor(2.0)}})
    assert mixed.item() == 0.5 * 11 + 2 * 100


def test_children_of_a_view_inherit_only_what_it_still_has():
    whole, rng = space(), random.Random(0)
    view = whole.within({"scale": [1, 3], "branches": ["c"]})
    parents = [whole.decide(uniform(rng)) for _ in range(20)]
    for a, b in itertools.pairwise(parents):
        view.check(view.decide(mutate(a, rng, 0.1)))
        view.check(view.decide(crossover(a, b, rng)))


@pytest.mark.parametrize("answer", [("a",), ("c",), ("a", "c")])
def test_what_is_answered_of_a_narrower_subset_is_what_runs(answer):
    factors = {"a": 1.0, "b": 10.0, "c": 100.0}
    view = space().within({"scale": [1, 3], "branches": ["a", "c"]})
    assert view(X, {"scale": 3, "branches": answer}).item() == 3 * sum(factors[name] for name in answer)


def test_what_is_undecided_of_one_option_stays_open_in_a_view():
    with pytest.raises(LookupError, match="no value for decision 'scale'"):
        space().within({"scale": [1, 3]})(X, {"branches": ("a",)})


def test_undecided_subsets_of_the_whole_keep_all_beside_a_narrower_decision():
    view = space().within({"scale": [2, 3]})
    assert view(X, {"scale": 2}).item() == 2 * 111
    assert view(X, {"scale": torch.tensor([0.5, 1.0])}).item() == 4 * 111


def test_a_setting_is_left_as_it_was_given():
    given = {"scale": torch.tensor([0.5, 0.5])}
    space().within({"scale": [1, 3], "branches": ["a"]})(X, given)
    assert list(given) == ["scale"]
    assert given["scale"].shape == (2,)


def test_a_view_that_is_narrowed_nowhere_is_the_space_once_more():
    whole = space()
    view = whole.within({})
    assert (view.decisions, view.digest, view.count()) == (whole.decisions, whole.digest, whole.count())
    assert view is not whole
    assert view(X, {"scale": torch.tensor([1.0, 0.0, 1.0])}).item() == 4 * 111
