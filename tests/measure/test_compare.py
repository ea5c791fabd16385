"""measure.compare against scipy and against numbers worked out on paper."""

import math

import numpy as np
import pytest
from scipy import stats

from winnow.measure.compare import difference, mean_interval, t_quantile


def test_an_interval_on_paper():
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3)
    half = 4.302652729911275 / math.sqrt(3)  # t of 2 degrees of freedom at 97.5 %; standard deviation 1
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half))


@pytest.mark.parametrize("n", [2, 3, 10, 50])
def test_intervals_are_scipys(n):
    values = np.random.default_rng(n).normal(93, 0.4, n)
    found = mean_interval(values.tolist())
    expected = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert found.mean == pytest.approx(values.mean())


def test_one_value_has_a_mean_and_no_interval():
    found = mean_interval([91.5])
    assert (found.mean, found.low, found.high, found.n) == (91.5, -math.inf, math.inf, 1)


def test_equal_values_have_an_interval_of_nothing():
    found = mean_interval([7.0] * 4)
    assert (found.low, found.high) == (7.0, 7.0)


@pytest.mark.parametrize("sizes", [(2, 2), (3, 5), (10, 3)])
def test_differences_are_welchs(sizes):
    rng = np.random.default_rng(sum(sizes))
    a, b = rng.normal(94, 0.2, sizes[0]), rng.normal(92, 1.5, sizes[1])
    found = difference(a.tolist(), b.tolist())
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert found.n == sum(sizes)


def test_a_difference_on_paper():
    found = difference([10.0, 12.0], [1.0, 3.0])
    half = stats.t.ppf(0.975, 2) * math.sqrt(2)  # both variances 2 over 2 values: freedom 2, standard error sqrt 2
    assert (found.mean, found.low, found.high) == pytest.approx((9.0, 9 - half, 9 + half))


def test_differences_that_cannot_be_judged():
    found = difference([93.0], [90.0, 91.0])
    assert (found.mean, found.low, found.high, found.n) == (2.5, -math.inf, math.inf, 3)
    assert difference([2.0, 2.0], [1.0, 1.0]).low == 1.0  # no spread at all: certain
    one_sided = difference([2.0, 2.0], [1.0, 1.5])
    assert one_sided.low < one_sided.mean < one_sided.high < math.inf


@pytest.mark.parametrize("freedom", [1.0, 2.5, 30.0, math.inf])
def test_quantiles_are_scipys_and_of_infinite_freedom_the_normal_ones(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom))
    assert t_quantile(freedom, 0.8) == pytest.approx(stats.t.ppf(0.8, freedom))
    assert t_quantile(math.inf) == pytest.approx(stats.norm.ppf(0.975))


@pytest.mark.parametrize(("a", "b"), [([1.0], [2.0, 3.0]), ([2.0, 3.0], [1.0]), ([1.0], [2.0])])
def test_a_difference_with_one_value_on_either_side_has_no_bounds(a, b):
    found = difference(a, b)
    assert (found.low, found.high, found.n) == (-math.inf, math.inf, len(a) + len(b))
    assert found.mean == pytest.approx(sum(a) / len(a) - sum(b) / len(b))


@pytest.mark.parametrize("swapped", [False, True])
def test_a_side_without_spread_adds_no_freedom(swapped):
    still, moved = [2.0, 2.0, 2.0], [1.0, 2.0, 6.0, 7.0]
    found = difference(moved, still) if swapped else difference(still, moved)
    half = stats.t.ppf(0.975, 3) * math.sqrt(np.var(moved, ddof=1) / 4)  # of the four values alone
    gap = 2.0 if swapped else -2.0
    assert (found.mean, found.low, found.high) == pytest.approx((gap, gap - half, gap + half))


def test_an_estimate_cannot_be_changed():
    found = mean_interval([1.0, 2.0])
    assert found == mean_interval([2.0, 1.0])
    assert found in {found}
    with pytest.raises(AttributeError):
        found.mean = 0.0
