"""measure.compare against scipy and against numbers worked out on paper."""

import math

import numpy as np
import pytest
from scipy import stats

from winnow.measure.compare import difference, mean_interval


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
