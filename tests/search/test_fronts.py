"""search.fronts: against a look at all sums."""

import itertools
import random

import numpy as np
import pytest

from winnow.search.fronts import Front, front, merged


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)


def dominated(point: tuple[float, float], points: list[tuple[float, float]]) -> bool:
    return any(c <= point[0] and s >= point[1] and (c, s) != point for c, s in points)


def test_a_front_rises_in_cost_and_score_and_of_one_cost_has_the_best():
    found = front(numbers(3, 1, 2, 1, 5), numbers(7, 2, 2, 4, 7))
    assert found.costs.tolist() == [1, 3]
    assert found.scores.tolist() == [4, 7]
    assert found.picks.tolist() == [[3], [0]]


def test_of_equal_options_the_earlier_is_on_the_front():
    assert front(numbers(2, 1, 1, 2), numbers(5, 3, 3, 5)).picks.tolist() == [[1], [0]]
    assert front(numbers(4), numbers(-1e9)).picks.tolist() == [[0]], "however bad, where there is nothing else"


@pytest.mark.parametrize(("limit", "place"), [(1, 0), (2.9, 0), (3, 1), (3.1, 1), (6, 2), (1e9, 2)])
def test_the_best_within_a_limit_may_cost_all_of_it(limit, place):
    assert front(numbers(1, 3, 6), numbers(1, 2, 4)).best(limit) == place


def test_without_a_limit_the_best_is_the_dearest_and_below_the_cheapest_there_is_none():
    found = front(numbers(1.25, 3, 6), numbers(1, 2, 4))
    assert found.best() == 2
    with pytest.raises(ValueError, match=r"the cheapest costs 1\.25, and the limit is 1\.24$"):
        found.best(1.24)


@pytest.mark.parametrize("seed", range(5))
def test_merged_fronts_are_the_front_of_all_sums(seed):
    draws = random.Random(seed)
    parts = [tuple(numbers(*(draws.randrange(12) for _ in range(4))) for _ in range(2)) for _ in range(3)]
    found = merged(parts)
    sums = {}
    for picks in itertools.product(range(4), repeat=3):
        point = tuple(float(sum(part[which][i] for part, i in zip(parts, picks, strict=True))) for which in (0, 1))
        sums.setdefault(point, []).append(picks)
    kept = sorted(point for point in sums if not dominated(point, list(sums)))
    assert list(zip(found.costs.tolist(), found.scores.tolist(), strict=True)) == kept
    assert all(tuple(picks) in sums[point] for picks, point in zip(found.picks.tolist(), kept, strict=True))


def test_the_front_of_one_part_is_its_own():
    part = numbers(3, 1, 2), numbers(3, 1, 0)
    one, alone = merged([part]), front(*part)
    assert isinstance(one, Front)
    assert one.picks.tolist() == alone.picks.tolist() == [[1], [0]]
