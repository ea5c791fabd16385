"""search.exact: against a look at everything that may be taken."""

import itertools
import random

import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.search.exact import Group, Optimum, least, optimum


def group(name: str, options: dict, after: tuple = ()) -> Group:
    """`options`: what each adds to the score, then to every cost."""
    table = np.array([list(row) for row in options.values()], dtype=float)
    return Group(name, tuple(options), table[:, 0], table[:, 1:], after)


def every(groups: list[Group]) -> list[tuple[dict, float, np.ndarray]]:
    """All that may be taken: of each group that is open one option, of the others none."""
    found = []
    for places in itertools.product(*(range(-1, len(g.options)) for g in groups)):
        picks = {g.name: g.options[i] for g, i in zip(groups, places, strict=True) if i >= 0}
        opened = [not g.after or any(picks.get(name) == option for name, option in g.after) for g in groups]
        if all(is_open == (g.name in picks) for g, is_open in zip(groups, opened, strict=True)):
            taken = [(g, i) for g, i in zip(groups, places, strict=True) if i >= 0]
            found.append((picks, sum(g.scores[i] for g, i in taken), sum(g.costs[i] for g, i in taken)))
    return found


def drawn(seed: int) -> list[Group]:
    """Two that are always asked, one that one option opens, one that either of two opens."""
    draws = random.Random(seed)

    def options(count: int) -> dict:
        return {f"o{i}": (draws.randrange(-9, 30), draws.randrange(1, 9), draws.randrange(1, 9)) for i in range(count)}

    return [
        group("a", options(3)),
        group("b", options(4)),
        group("c", options(3), (("a", "o1"),)),
        group("d", options(2), (("b", "o0"), ("b", "o2"))),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_is_the_best_of_all_that_is_within_every_limit(seed):
    groups = drawn(seed)
    for limits in ((), (9, 99), (99, 8), (11, 10)):
        within = [each for each in every(groups) if not limits or (each[2] <= limits).all()]
        best = max(within, key=lambda each: each[1])
        found = optimum(groups, limits)
        assert found.score == best[1]
        assert (found.picks, found.score) in [(picks, score) for picks, score, _ in within]
        assert (
            found.costs.tolist()
            == sum(g.costs[g.options.index(found.picks[g.name])] for g in groups if g.name in found.picks).tolist()
        )
        assert found.bound == pytest.approx(found.score)


@pytest.mark.parametrize("seed", range(4))
def test_the_least_of_a_cost_is_that_of_the_cheapest_whatever_it_scores(seed):
    groups = drawn(seed)
    for cost in (0, 1):
        assert least(groups, cost) == min(costs[cost] for *_, costs in every(groups))


def test_a_limit_may_be_reached_and_may_be_nothing_or_less():
    groups = [group("a", {"x": (5, 2), "y": (1, -1)}), group("b", {"x": (5, 1), "y": (1, -1)})]
    for limit, picks in ((3, "xx"), (2.9, "xy"), (1, "xy"), (0, "yx"), (-0.5, "yy"), (-2, "yy")):
        assert "".join(optimum(groups, [limit]).picks.values()) == picks


def test_what_only_the_tolerance_of_the_solver_lets_through_is_not_taken():
    """A billionth above the limit; what differs from it in one answer may still be taken."""
    groups = [
        group("a", {"x": (9, 1 + 1e-9), "y": (7, 0.5), "z": (0, 0.1)}),
        group("b", {"x": (3, 0.0), "y": (1, 0.0)}),
    ]
    found = optimum(groups, [1.0])
    assert (dict(found.picks), found.score) == ({"a": "y", "b": "x"}, 10)
    assert optimum(groups, [1 + 1e-9]).score == 12


def test_where_nothing_is_within_the_limits_the_least_of_each_is_told():
    groups = [group("a", {"x": (5, 2, 8), "y": (1, 4, 1.5)}), group("b", {"x": (5, 1, 7), "y": (1, 3, 2)})]
    said = "nothing is within the limits 3.5, 9.25 at once: the least of each is 3, 3.5$"
    with pytest.raises(Refused, match=said):
        optimum(groups, [3.5, 9.25])


def test_without_time_there_is_no_optimum():
    draws = np.random.default_rng(0)
    groups = [Group(f"g{i}", tuple("abcdefgh"), draws.random(8), draws.random((8, 3))) for i in range(20)]
    with pytest.raises(Refused, match=r"^no optimum: .*[Tt]ime limit"):
        optimum(groups, [6.0, 6.0, 6.0], seconds=0.0)


@pytest.mark.parametrize(
    ("score", "bound", "gap"), [(3.0, 3.5, 0.5), (3.0, 3.0, 0.0), (3.0, 2.0, 0.0), (-2.0, 1.0, 3.0)]
)
def test_the_gap_is_what_is_missing_to_the_bound_and_never_less_than_nothing(score, bound, gap):
    assert Optimum({}, score, np.zeros(1), bound).gap == gap


def test_the_bound_of_many_groups_is_reached_to_the_last_digit():
    """A solver that may stop near the optimum would: sums of scores that differ little."""
    draws = np.random.default_rng(1)
    groups = [Group(f"g{i}", tuple(range(5)), 100 + draws.random(5), draws.integers(1, 20, (5, 2))) for i in range(8)]
    found = optimum(groups, [60.0, 60.0])
    assert found.gap < 1e-6
    table = np.array(list(itertools.product(range(5), repeat=8)))
    scores = sum(g.scores[table[:, i]] for i, g in enumerate(groups))
    costs = sum(g.costs[table[:, i]] for i, g in enumerate(groups))
    assert found.score == pytest.approx(scores[(costs <= 60).all(1)].max(), abs=1e-9)
