"""How well one list of numbers orders another: rank correlations, the top of the list, and their uncertainty.

All take two sequences of n finite numbers, larger being better in both; NaN is refused, since a rank for what is
missing is the caller's decision. Everything is O(n log n).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Measure = Callable[[Numbers, Numbers], float]


@dataclass(frozen=True)
class Interval:
    """A value and its percentile bootstrap interval; `missing` resamples had no value (all scores equal)."""

    value: float
    low: float
    high: float
    missing: int = 0


def average_ranks(values: ArrayLike) -> Numbers:
    """1 for the smallest to n; equal values share their mean rank."""
    x = np.asarray(values, dtype=np.float64)
    order = np.argsort(x, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(x[order]) != 0])
    ends = np.r_[starts[1:], len(x)]
    ranks = np.empty(len(x))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def spearman(scores: ArrayLike, truth: ArrayLike) -> float:
    """Pearson's correlation of the average ranks; NaN where one side is constant."""
    a, b = _pair(scores, truth)
    return _pearson(average_ranks(a), average_ranks(b))


def kendall_tau(scores: ArrayLike, truth: ArrayLike) -> float:
    """Kendall's tau-b, which corrects for ties on either side; NaN where one side is constant."""
    a, b = (_dense(x) for x in _pair(scores, truth))
    n = len(a)
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    pairs = n * (n - 1) // 2
    ties_a, ties_b, ties_both = _tied(a), _tied(b), _tied(a * (b.max() + 1) + b)
    discordant = _inversions(b)  # pairs tied in a come in ascending order of b: no inversion among them
    concordant_less_discordant = pairs - ties_a - ties_b + ties_both - 2 * discordant
    scale = np.sqrt(float(pairs - ties_a)) * np.sqrt(float(pairs - ties_b))
    return float(concordant_less_discordant / scale) if scale else float("nan")


def top_precision(scores: ArrayLike, truth: ArrayLike, k: int) -> float:
    """The share of the k best by `scores` that are among the k best by `truth`; ties go to the earlier one."""
    a, b = _pair(scores, truth)
    _check_k(k, len(a))
    return len(np.intersect1d(_best(a, k), _best(b, k), assume_unique=True)) / k


def ndcg(scores: ArrayLike, truth: ArrayLike, k: int | None = None) -> float:
    """Normalised discounted cumulative gain of the k best by `scores` [default: all].

    The gain is the truth's distance from its minimum over its range, the discount 1 / log2(place + 1). 1 at best.
    """
    a, b = _pair(scores, truth)
    k = len(a) if k is None else k
    _check_k(k, len(a))
    gains = b - b.min()
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = float(np.sort(gains)[::-1][:k] @ discounts)
    return float(gains[_best(a, k)] @ discounts) / ideal if ideal else float("nan")


def partial_spearman(scores: ArrayLike, truth: ArrayLike, given: Sequence[ArrayLike]) -> float:
    """Spearman's correlation of what the ranks of `given` (params, macs) leave unexplained in both, linearly.

    NaN where they explain one side wholly.
    """
    a, b = (average_ranks(x) for x in _pair(scores, truth))
    known = np.column_stack([np.ones(len(a)), *(average_ranks(_pair(g, truth)[0]) for g in given)])
    known = known - np.r_[0.0, known[:, 1:].mean(0)]
    rests = []
    for ranks in (a, b):
        rest = ranks - known @ np.linalg.lstsq(known, ranks, rcond=None)[0]
        if np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(ranks):
            return float("nan")
        rests.append(rest)
    return _pearson(*rests)


def difference(
    measure: Measure, a: ArrayLike, b: ArrayLike, truth: ArrayLike, rng: np.random.Generator, resamples: int = 1000
) -> Interval:
    """By how much `a` orders `truth` better than `b` does, with its 95 % interval over the same resampled networks."""
    (first, wanted), (second, _) = _pair(a, truth), _pair(b, truth)
    values = np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(0, len(wanted), len(wanted))
        values[i] = measure(first[rows], wanted[rows]) - measure(second[rows], wanted[rows])
    kept = values[~np.isnan(values)]
    low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) else (np.nan, np.nan)
    return Interval(measure(first, wanted) - measure(second, wanted), float(low), float(high), resamples - len(kept))


def bootstrap(
    measure: Measure, scores: ArrayLike, truth: ArrayLike, rng: np.random.Generator, resamples: int = 1000
) -> Interval:
    """`measure(scores, truth)` with its 95 % percentile interval over resampled networks, drawn from `rng`."""
    a, b = _pair(scores, truth)
    draws = []
    for _ in range(resamples):
        rows = rng.integers(0, len(a), len(a))
        draws.append(measure(a[rows], b[rows]))
    values = np.array(draws)
    kept = values[~np.isnan(values)]
    low, high = np.quantile(kept, [0.025, 0.975]) if len(kept) else (np.nan, np.nan)
    return Interval(measure(a, b), float(low), float(high), len(values) - len(kept))


def _pair(scores: ArrayLike, truth: ArrayLike) -> tuple[Numbers, Numbers]:
    a, b = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"ranking takes two lists of one length, 2 or more, not {a.shape} and {b.shape}")
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("ranking takes numbers: decide first where NaN belongs")
    return a, b


def _check_k(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k takes 1 to {n}, not {k}")


def _best(values: Numbers, k: int) -> NDArray[np.intp]:
    return np.argsort(-values, kind="stable")[:k]


def _pearson(a: Numbers, b: Numbers) -> float:
    a, b = a - a.mean(), b - b.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / scale) if scale else float("nan")


def _dense(values: Numbers) -> NDArray[np.int64]:
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _tied(values: NDArray[np.int64]) -> int:
    counts = np.unique(values, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _inversions(values: NDArray[np.int64]) -> int:
    """Pairs i < j with values[i] > values[j], counted bit by bit from the highest.

    Two numbers are in the order of their highest differing bit. Elements are kept sorted by the bits above the present
    one, and among equals in their first order; where one with this bit comes before one without, that is an inversion.
    """
    total = 0
    for bit in reversed(range(int(values.max()).bit_length())):
        ones = (values >> bit) & 1
        group = values >> (bit + 1)
        starts = np.r_[True, np.diff(group) != 0]
        before = np.cumsum(ones) - ones  # ones ahead of each element, of its group and those before it
        ahead = before - np.maximum.accumulate(np.where(starts, before, 0))
        total += int(ahead[ones == 0].sum())
        values = values[np.argsort(values >> bit, kind="stable")]
    return total
