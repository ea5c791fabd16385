"""Means with intervals, the difference of two groups, and calibration."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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


def reliability(confidence: Tensor, right: Tensor, bins: int = 15) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error in points of percent, and the bins behind it (Guo et al. 2017, arXiv:1706.04599).

    `confidence` (n,) is the probability given to the predicted class, `right` (n,) whether it was the true one.
    """
    confidence, right = confidence.cpu().double(), right.cpu().double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    which = torch.bucketize(confidence, edges[1:-1])  # a bin holds its upper edge, the first one 0 as well
    rows, error = [], 0.0
    for i in range(bins):
        inside = which == i
        count = int(inside.sum())
        row = {"confidence_low": float(edges[i]), "confidence_high": float(edges[i + 1]), "count": count}
        if count:
            sure, true = float(confidence[inside].mean()), float(right[inside].mean())
            error += 100 * count / len(confidence) * abs(sure - true)
            rows.append({**row, "confidence": sure, "accuracy": true})
    return error, rows


def t_quantile(freedom: float, share: float = 0.975) -> float:
    """Of Student's t; infinite `freedom` is the normal distribution."""
    from scipy.stats import t  # heavy, and needed once a pipeline

    return float(t.ppf(share, freedom))
