"""measure.compare against scipy and against numbers worked out on paper."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from winnow.measure.compare import difference, mean_interval, reliability


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


def test_calibration_on_paper():
    confidence = torch.tensor([0.95, 0.85, 0.85, 0.65])
    right = torch.tensor([True, True, False, False])
    error, rows = reliability(confidence, right, bins=10)
    # bins 0.6-0.7: |0.65 - 0|; 0.8-0.9: |0.85 - 0.5|; 0.9-1: |0.95 - 1|, weighed 1, 2, 1 of 4
    assert error == pytest.approx(100 * (0.65 + 2 * 0.35 + 0.05) / 4)
    assert [row["count"] for row in rows] == [1, 2, 1]
    assert [row["confidence_low"] for row in rows] == pytest.approx([0.6, 0.8, 0.9])
    assert [row["confidence_high"] for row in rows] == pytest.approx([0.7, 0.9, 1.0])
    assert [row["accuracy"] for row in rows] == [0.0, 0.5, 1.0]
    assert [row["confidence"] for row in rows] == pytest.approx([0.65, 0.85, 0.95])


def test_certainty_and_the_edges_of_bins():
    confidence = torch.tensor([0.0, 0.25, 0.25 + 1e-9, 0.5, 0.75, 1.0], dtype=torch.float64)
    _, rows = reliability(confidence, torch.ones(6, dtype=torch.bool), bins=4)
    assert [row["count"] for row in rows] == [2, 2, 1, 1]  # a bin ends with its upper edge, and 0 is in the first
    sure, rows = reliability(torch.ones(3), torch.ones(3, dtype=torch.bool))
    assert sure == 0.0
    assert rows == [
        {
            "confidence_low": pytest.approx(14 / 15),
            "confidence_high": 1.0,
            "count": 3,
            "confidence": 1.0,
            "accuracy": 1.0,
        }
    ]
    wrong, _ = reliability(torch.ones(3), torch.zeros(3, dtype=torch.bool))
    assert wrong == 100.0


def test_calibration_counts_every_image_once_and_matches_numpy():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(5000, generator=generator)
    right = torch.rand(5000, generator=generator) < confidence**2  # overconfident
    error, rows = reliability(confidence, right)
    assert sum(row["count"] for row in rows) == 5000
    assert [row["confidence_high"] for row in rows] == pytest.approx([i / 15 for i in range(1, 16)], abs=1e-12)
    values, hits = confidence.double().numpy(), right.numpy()
    which = np.clip(np.ceil(values * 15).astype(int) - 1, 0, 14)
    expected = sum((which == i).mean() * abs(values[which == i].mean() - hits[which == i].mean()) for i in range(15))
    assert error == pytest.approx(100 * expected)
    assert 14 < error < 20  # the mean of c - c squared is 1/6
