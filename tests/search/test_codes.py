"""search.codes: how likely codes are, which are drawn, and what two of them say of a gradient."""

import itertools
import random
from collections import Counter

import pytest
import torch
from torch import nn

from winnow.core.decision import Decision
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.branches import Branches
from winnow.search.codes import (
    chances_of,
    expected_cost,
    fire,
    likelihood,
    likelihoods,
    one_code,
    paired,
    pairs_of,
    setting_of,
    two_codes,
)


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


class Always(random.Random):
    """A number that is drawn again and again."""

    def __init__(self, number: float):
        super().__init__(0)
        self.number = number

    def random(self) -> float:
        return self.number


def space(*sizes: int) -> Space:
    """Cells one after another of so many operations, which multiply by 1, 2, ..."""
    cells = [{"abcdefgh"[i]: Times(1.0 + i) for i in range(size)} for size in sizes]
    return Space(nn.Sequential(*(Branches(f"c{i}", each, 8, True) for i, each in enumerate(cells))))


def single(*sizes: int) -> Space:
    """The same, of which one is taken each."""
    cells = [{"abcdefgh"[i]: Times(1.0 + i) for i in range(size)} for size in sizes]
    return Space(nn.Sequential(*(Choice(f"c{i}", each) for i, each in enumerate(cells))))


def theta_of(made: Space) -> dict[str, nn.Parameter]:
    draws = torch.Generator().manual_seed(0)
    return {name: nn.Parameter(torch.randn(len(d.options), generator=draws)) for name, d in made.decisions.items()}


# ---- chances


def test_an_operation_fires_by_a_sigmoid_that_stays_off_both_ends():
    theta = torch.tensor([-1.0, 0.25, 3.0], dtype=torch.float64)
    torch.testing.assert_close(fire(theta), 0.0005 + 0.999 / (1 + (-theta).exp()))


def test_chances_are_those_of_the_options_that_are_left():
    whole = space(3, 2)
    theta = {"c0": torch.tensor([-1.0, 0.0, 2.0]), "c1": torch.tensor([1.0, -2.0])}
    found = chances_of(whole.within({"c0": ["a", "c"]}), theta)
    told = {name: fire(vector).tolist() for name, vector in theta.items()}
    assert found == {"c0": {"a": told["c0"][0], "c": told["c0"][2]}, "c1": dict(zip("ab", told["c1"], strict=True))}


def test_a_code_is_as_likely_as_what_is_on_and_what_is_off():
    chance = {"a": 0.2, "b": 0.7, "c": 0.4}
    assert likelihood(("a", "c"), chance) == pytest.approx(0.2 * 0.3 * 0.4)
    assert likelihood("b", chance) == pytest.approx(0.8 * 0.7 * 0.6), "an operation taken alone: the others are off"


@pytest.mark.parametrize(
    ("options", "pick", "least", "listed"),
    [
        (5, 5, 0, True),
        (5, 5, 1, True),
        (31, 1, 0, True),
        (32, 1, 0, False),
        (6, 6, 0, False),
        (40, 1, None, True),
        (9, 2, None, False),
    ],
)
def test_up_to_32_codes_are_listed_and_single_options_always(options, pick, least, listed):
    d = Decision("c", tuple(range(options)), pick, least=least)
    chance = dict.fromkeys(d.options, 0.25)
    found = likelihoods(d, chance)
    assert (found is not None) is listed
    if listed:
        assert found == [likelihood(code, chance) for code in d.values]


# ---- draws


def test_a_code_that_is_listed_is_drawn_by_its_likelihood_among_those_that_a_cell_may_have():
    d, chance, draws = Decision("c", tuple("abc"), 2, least=1), {"a": 0.8, "b": 0.5, "c": 0.2}, random.Random(0)
    drawn = Counter(one_code(d, chance, draws) for _ in range(4000))
    whole = sum(likelihood(code, chance) for code in d.values)
    for code in d.values:
        assert drawn[code] / 4000 == pytest.approx(likelihood(code, chance) / whole, abs=0.025)
    assert sum(drawn[code] for code in d.values) == 4000


def test_a_code_that_is_not_listed_has_on_what_is_drawn_below_its_chance():
    d = Decision("c", tuple("abcdefgh"), 8, least=0)
    chance = dict(zip("abcdefgh", (0.4, 0.5, 0.6, 0.0, 1.0, 0.51, 0.49, 0.5), strict=True))
    assert one_code(d, chance, Always(0.5)) == ("c", "e", "f")


def test_where_chances_give_no_code_that_a_cell_may_have_one_is_drawn_evenly():
    """Of 36 codes of one or two operations, where none is ever on, and where all are."""
    d, draws = Decision("c", tuple("abcdefgh"), 2, least=1), random.Random(0)
    for chance in (0.0, 1.0):
        drawn = {one_code(d, dict.fromkeys("abcdefgh", chance), draws) for _ in range(60)}
        assert drawn <= set(d.values)
        assert len(drawn) > 20


def test_two_codes_are_drawn_without_replacement():
    """The first by its weight, the second by its weight among the rest: odds of 4 to 1, 1 to 1 and 1 to 4."""
    d, chance, draws, count = Decision("c", tuple("abc")), {"a": 0.8, "b": 0.5, "c": 0.2}, random.Random(0), 6000
    weights = {"a": 4.0, "b": 1.0, "c": 0.25}
    drawn = Counter(two_codes(d, chance, draws) for _ in range(count))
    for one, other in itertools.permutations("abc", 2):
        share = weights[one] / 5.25 * weights[other] / (5.25 - weights[one])
        assert drawn[one, other] / count == pytest.approx(share, abs=0.02)
    assert sum(drawn.values()) == sum(drawn[pair] for pair in itertools.permutations("abc", 2))


def test_of_a_cell_whose_chances_always_give_one_code_the_second_is_drawn_evenly():
    d, draws = Decision("c", tuple("abcdefgh"), 8, least=0), random.Random(0)
    drawn = [two_codes(d, dict.fromkeys("abcdefgh", 0.0), draws) for _ in range(20)]
    assert {one for one, _ in drawn} == {()}
    assert all(other for _, other in drawn)
    assert len({other for _, other in drawn}) > 10


# ---- pairs


def test_two_codes_share_a_cell_by_how_likely_they_are_and_what_is_not_left_does_not_count():
    made, theta = space(3), {"c0": nn.Parameter(torch.tensor([0.3, -0.8, 1.2], dtype=torch.float64))}
    p = dict(zip("abc", fire(theta["c0"]).tolist(), strict=True))
    one, other, share = paired(made.within({"c0": ["a", "c"]}), "c0", theta["c0"], ("a",), ("a", "c"))
    assert (one, other) == (("a",), ("a", "c"))
    odds = p["c"] / (1 - p["c"])  # of `a` both say the same
    torch.testing.assert_close(share.detach(), torch.tensor([1 / (1 + odds), odds / (1 + odds)], dtype=torch.float64))
    (slope,) = torch.autograd.grad(share[1], theta["c0"])
    assert slope[1] == 0 < slope[2]
    assert slope[0].abs() < 1e-12


def test_of_single_options_a_share_is_what_their_odds_say():
    made, theta = single(2), torch.tensor([0.7, -0.4], dtype=torch.float64)
    a, b = fire(theta).tolist()
    share = paired(made, "c0", theta, "b", "a")[2]
    likely = [(1 - a) * b, a * (1 - b)]
    assert share.tolist() == pytest.approx([each / sum(likely) for each in likely])


def test_a_decision_with_one_code_has_no_pair_and_neither_has_one_without_a_parameter():
    made = single(3, 2, 2)
    theta = theta_of(made)
    del theta["c2"]
    pairs = pairs_of(made.within({"c0": ["b"]}), theta, random.Random(0))
    assert set(pairs) == {"c1"}
    assert {pairs["c1"][0], pairs["c1"][1]} == {"a", "b"}


def test_pairs_are_drawn_by_the_chances_of_their_own_decision():
    made = single(3, 3)
    theta = {"c0": torch.tensor([9.0, 9.0, -9.0]), "c1": torch.tensor([-9.0, 9.0, 9.0])}
    draws = random.Random(0)
    for _ in range(30):
        pairs = pairs_of(made, theta, draws)
        assert [{one, other} for one, other, _ in pairs.values()] == [{"a", "b"}, {"b", "c"}]


def test_the_gradient_of_a_share_is_what_the_output_says_of_what_its_code_returns():
    """x times 1 and 3 by either code; what follows doubles it, so the shares get 2 and 6 times the sum of x."""
    made = single(3, 1)
    x = torch.tensor([[1.0], [4.0]])
    share = torch.tensor([0.25, 0.75], requires_grad=True)
    setting, first = setting_of(made, {"c0": ("a", "c", share)}, random.Random(0))
    assert dict(first) == {"c0": "a", "c1": "a"}
    y = 2 * made(x, setting)
    assert torch.equal(y, 2 * x)
    (slope,) = torch.autograd.grad(y.sum(), share)
    assert slope.tolist() == [2 * 5, 6 * 5]


def test_what_has_no_pair_is_drawn_evenly():
    made, draws = single(2, 3), random.Random(0)
    pair = ("b", "a", torch.tensor([0.5, 0.5]))
    drawn = Counter(setting_of(made, {"c0": pair}, draws)[1] for _ in range(300))
    assert {arch["c0"] for arch in drawn} == {"b"}
    assert {arch["c1"]: abs(count - 100) < 25 for arch, count in drawn.items()} == dict.fromkeys("abc", True)


# ---- costs


def test_the_expected_cost_goes_by_the_share_of_the_second_code_in_the_type_of_the_shares():
    made = single(2, 2)
    price = {"a": 3.0, "b": 10.0}
    first = made.decide(lambda d: "a")
    shares = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in ([0.75, 0.25], [0.5, 0.5])]
    pairs = {f"c{i}": ("a", "b", share) for i, share in enumerate(shares)}
    found = expected_cost(made, first, pairs, lambda arch: sum(price[value] for value in arch.values()))
    assert found.dtype == torch.float64
    assert found.item() == 6 + 0.25 * 7 + 0.5 * 7
    assert [slope.tolist() for slope in torch.autograd.grad(found, shares)] == [[0, 7], [0, 7]]


def test_a_second_code_costs_what_it_opens_and_what_is_out_of_reach_costs_nothing():
    inner = {"x": Times(1.0), "y": Times(2.0)}
    made = Space(nn.Sequential(Choice("c0", {"flat": Times(1.0), "deep": Choice("c1", inner)})))
    price = {"flat": 1.0, "deep": 2.0, "x": 4.0, "y": 8.0}
    cost = lambda arch: sum(price[value] for value in arch.values())  # noqa: E731
    pairs = {
        "c0": ("flat", "deep", torch.tensor([0.5, 0.5])),
        "c1": ("y", "x", torch.tensor([0.5, 0.5])),
    }
    first = made.decide(lambda d: pairs[d.name][0])
    assert expected_cost(made, first, pairs, cost).item() == 1 + 0.5 * (2 + 4 - 1), "opened with its first option"
    assert expected_cost(made, first, {}, cost).item() == 1
