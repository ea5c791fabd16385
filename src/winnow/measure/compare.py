"""Means with intervals, and the difference of two groups."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % confidence interval; infinite bounds where `n` allows none."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: Sequence[float]) -> Estimate:
    """Student's t interval of the mean of independent `values`."""
    n, mean = len(values), statistics.fmean(values)
    if n < 2:
        return Estimate(mean, -math.inf, math.inf, n)
    half = t_quantile(n - 1) * statistics.stdev(values) / math.sqrt(n)
    return Estimate(mean, mean - half, mean + half, n)


def difference(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """mean(a) - mean(b) with Welch's interval, which does not ask for equal spreads; `n` is len(a) + len(b)."""
    gap, n = statistics.fmean(a) - statistics.fmean(b), len(a) + len(b)
    if min(len(a), len(b)) < 2:
        return Estimate(gap, -math.inf, math.inf, n)
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    if va + vb == 0:
        return Estimate(gap, gap, gap, n)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = t_quantile(freedom) * math.sqrt(va + vb)
    return Estimate(gap, gap - half, gap + half, n)


def t_quantile(freedom: float, share: float = 0.975) -> float:
    """Of Student's t; infinite `freedom` is the normal distribution."""
    from scipy.stats import t  # heavy, and needed once a pipeline

    return float(t.ppf(share, freedom))
