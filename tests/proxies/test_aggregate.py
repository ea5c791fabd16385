"""Putting ranks together: AZ-NAS' rule and its linear counterpart."""

import numpy as np
import pytest

from winnow.proxies import PROXIES
from winnow.proxies.aggregate import AGGREGATES, QUINTET, log_rank, mean_rank, oriented_ranks, quintet, vote


def test_ranks_go_from_one_for_the_worst_to_m():
    assert oriented_ranks([10, 30, 20]).tolist() == [1, 3, 2]
    assert oriented_ranks([10, 30, 20], -1).tolist() == [3, 1, 2]
    assert oriented_ranks([5, 5, 9]).tolist() == [1.5, 1.5, 3]


def test_nan_and_infinitely_bad_are_last_in_either_direction():
    values = [np.nan, 1.0, -np.inf, 2.0]
    assert oriented_ranks(values).tolist() == [1.5, 3, 1.5, 4]
    assert oriented_ranks([np.nan, 1.0, np.inf, 2.0], -1).tolist() == [1.5, 4, 1.5, 3]


def test_one_bad_rank_is_punished():
    """Ranks (3, 3, 3, 3) of 4 beat (4, 4, 4, 1), although 12 < 13."""
    columns = {
        "a": [3, 4, 1, 2],
        "b": [3, 4, 1, 2],
        "c": [3, 4, 1, 2],
        "d": [3, 1, 2, 4],
    }
    directions = dict.fromkeys(columns, 1)
    score = log_rank(columns, directions).score
    assert score[:2].tolist() == pytest.approx([4 * np.log(0.75), np.log(0.25)])
    assert score[0] > score[1]
    linear = mean_rank(columns, directions).score
    assert linear[0] < linear[1]


def test_increasing_transforms_change_nothing_and_a_better_score_never_harms():
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=50), "b": rng.normal(size=50)}
    before = log_rank(columns, {"a": 1, "b": -1}).score
    assert log_rank({"a": np.exp(columns["a"]), "b": columns["b"] ** 3}, {"a": 1, "b": -1}).score.tolist() == (
        before.tolist()
    )
    columns["a"][7] += 1
    assert log_rank(columns, {"a": 1, "b": -1}).score[7] >= before[7]


def test_missing_values_are_counted():
    found = log_rank({"a": [1, np.nan, 3], "b": [np.nan, np.nan, 1]}, {"a": 1, "b": 1})
    assert found.missing == {"a": 1, "b": 2}
    assert np.isfinite(found.score).all()


def test_no_proxy_is_an_error():
    with pytest.raises(ValueError, match="one proxy or more"):
        log_rank({}, {})


def test_majorities_win():
    assert vote([[1, 2, 3], [1, 3, 2], [3, 2, 1]], [1, 1, -1]).tolist() == [-2, 0, 2]


def test_the_quintet_prefers_who_is_nowhere_bad():
    even, spiky, worst = [3, 3, 3, 3, 3], [4, 4, 4, 4, 1], [1, 1, 1, 1, 2]
    other = [2, 2, 2, 2, 4]
    columns = dict(zip(QUINTET, zip(even, spiky, worst, other, strict=True), strict=True))
    score = quintet(columns | {"params": [0, 0, 0, 0]}).score
    assert score.tolist() == pytest.approx(
        [5 * np.log(3 / 4), np.log(1 / 4), 4 * np.log(1 / 4) + np.log(1 / 2), 4 * np.log(1 / 2)]
    )
    assert score[0] > score[3]
    assert score[1] > score[2]


def test_aggregates_are_made_of_proxies_where_large_is_good():
    assert all(PROXIES[part].direction == 1 for parts in AGGREGATES.values() for part in parts)
