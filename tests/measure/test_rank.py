"""Rank measures against scipy and scikit-learn, and cases worked out by hand."""

import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from winnow.measure import rank

RNG = np.random.default_rng(0)
PAIRS = {
    "distinct": (RNG.normal(size=300), RNG.normal(size=300)),
    "related": (x := RNG.normal(size=300), x + RNG.normal(size=300)),
    "ties on one side": (RNG.integers(0, 5, 300), RNG.normal(size=300)),
    "ties on both": (RNG.integers(0, 28, 300), RNG.integers(0, 9, 300)),
    "reversed": (np.arange(50), -np.arange(50)),
    "two": (np.array([1.0, 2.0]), np.array([3.0, 1.0])),
    "huge": (10.0 ** RNG.integers(-300, 300, 200), RNG.normal(size=200)),
}


@pytest.mark.parametrize("case", PAIRS)
def test_correlations_are_those_of_scipy(case):
    a, b = PAIRS[case]
    assert rank.average_ranks(a) == pytest.approx(stats.rankdata(a))
    assert rank.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert rank.kendall_tau(a, b) == pytest.approx(stats.kendalltau(a, b).statistic)


def test_constant_scores_have_no_correlation():
    assert np.isnan(rank.spearman([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank.kendall_tau([1, 1, 1], [1, 2, 3]))
    assert np.isnan(rank.ndcg([1, 2], [3, 3]))


def test_any_increasing_transform_keeps_ranks():
    a, b = PAIRS["related"]
    assert rank.kendall_tau(np.exp(a), b**3) == rank.kendall_tau(a, b)


def test_top_of_the_list():
    assert rank.top_precision([5, 4, 3, 2, 1], [5, 1, 4, 2, 3], 3) == pytest.approx(2 / 3)
    assert rank.top_precision([1, 2, 3], [1, 2, 3], 3) == 1


@pytest.mark.parametrize("k", [1, 10, 300])
def test_ndcg_is_that_of_scikit_learn(k):
    a, b = PAIRS["related"]
    assert rank.ndcg(a, b, k) == pytest.approx(ndcg_score([b - b.min()], [a], k=k))


def test_partial_correlation_is_the_textbook_formula():
    rng = np.random.default_rng(1)
    size = rng.normal(size=500)
    a, b = size + rng.normal(size=500), size + rng.normal(size=500)
    ab, ac, bc = (stats.spearmanr(*pair).statistic for pair in ((a, b), (a, size), (b, size)))
    expected = (ab - ac * bc) / np.sqrt((1 - ac**2) * (1 - bc**2))
    assert rank.partial_spearman(a, b, [size]) == pytest.approx(expected)
    assert rank.partial_spearman(a, b, [size, np.exp(size)]) == pytest.approx(expected)  # one ranking, told twice
    assert np.isnan(rank.partial_spearman(size, b, [size]))
    assert abs(rank.partial_spearman(size + rng.normal(size=500) * 1e-3, b, [size])) < 0.15


def test_bootstrap_covers_the_value_and_repeats():
    a, b = PAIRS["related"]
    first, again = (rank.bootstrap(rank.spearman, a, b, np.random.default_rng(3), 200) for _ in range(2))
    assert first == again
    assert first.low < first.value < first.high
    assert 0.05 < first.high - first.low < 0.4
    assert rank.bootstrap(rank.spearman, [1, 1, 1], [1, 2, 3], np.random.default_rng(0), 5).missing == 5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2], [1, 2, 3]),
        ([1], [1]),
        ([[1, 2]], [[1, 2]]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ([1, np.nan], [1, 2]),
    ],
)
def test_what_cannot_be_ranked_is_an_error(a, b):
    with pytest.raises(ValueError, match="ranking takes"):
        rank.kendall_tau(a, b)


def test_k_beyond_the_list_is_an_error():
    with pytest.raises(ValueError, match="k takes 1 to 2"):
        rank.top_precision([1, 2], [1, 2], 3)


def test_a_hundred_thousand_are_ranked_at_once():
    a = RNG.normal(size=100_000)
    b = a + RNG.normal(size=100_000)
    began = time.perf_counter()
    tau = rank.kendall_tau(a, b)
    assert time.perf_counter() - began < 3  # pairs one by one would take hours
    assert tau == pytest.approx(0.5, abs=0.02)


def test_a_difference_of_two_orders_is_one_of_the_same_networks():
    """One is right throughout, the other wrong throughout: 2 in each resample, but where all drawn are one network."""
    truth = [1.0, 2.0, 3.0, 4.0]
    found = rank.difference(rank.spearman, truth, truth[::-1], truth, np.random.default_rng(0), 500)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0, 2.0))
    rows = np.random.default_rng(0)
    drawn = [len(set(rows.integers(0, 4, 4))) for _ in range(500)]
    assert found.missing == drawn.count(1) > 0
    same = rank.difference(rank.spearman, truth, truth, truth, np.random.default_rng(0), 20)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
