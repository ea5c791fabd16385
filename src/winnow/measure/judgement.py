"""One judgement for all who compare: yes, no, or cannot tell, by rules that hold on skewed accuracies too.

Better than random networks: a rank. Where what was found is no better than a random draw, every order of the found ones
and the random ones ("controls") is equally likely, whatever the distribution: so p is counted, not modelled, and a yes
at p <= 0.05 comes by chance in at most 5 % of cases. That holds as long as found ones and controls are measured alike:
drawn within the same limits, no architecture twice, by one recipe, one retraining of one seed each. One found network
makes it a claim about that network, several searches' finds a claim about the search.

Worse than before: non-inferiority, an interval against a margin. All values are larger where better.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from winnow.measure import compare
from winnow.measure.compare import Estimate

YES, NO, CANNOT_TELL = "yes", "no", "cannot tell"
LEVEL = Fraction(1, 20)  # of false yes
FEWEST = 3  # values that an interval takes: from two, it is wider than anything it could say
PERCENT = (0.0, 100.0)
MARGIN = 1.0  # points of a percentage that may be lost where nobody says else,
LOSS = 0.05  # and the share of any other score


@dataclass(frozen=True)
class Judgement:
    """`won` of all `pairs` of a found one and a control; `p` is exact, ties counted against what was found."""

    outcome: str
    p: float
    won: int
    pairs: int


def better_than_random(
    found: Sequence[float], controls: Sequence[float], gap: Estimate | None = None, best: float = PERCENT[1]
) -> Judgement:
    """Is what was found better than what `controls` are drawn from? `gap` is the difference of means, `best` the limit.

    yes: p <= 0.05. no: at most half of the pairs are won, and the interval of `gap` excludes a gain as large as a yes
    took (`detectable_gap`). Cannot tell: between, without an interval, or with too few controls to say yes.
    """
    won, pairs = sum(f > c for f in found for c in controls), len(found) * len(controls)
    chance = _chance(won, len(found), len(controls)) if pairs else Fraction(1)
    outcome = CANNOT_TELL
    if chance <= LEVEL:
        outcome = YES
    elif gap and len(controls) >= fewest_controls(len(found)) and 2 * won <= pairs:
        edge = max(detectable_gap(len(found), controls, best) or 0.0, 0.0)
        outcome = NO if gap.high < edge else CANNOT_TELL
    return Judgement(outcome, float(chance), won, pairs)


def fewest_controls(found: int) -> int:
    """With fewer, even the best of ranks comes by chance in more than 5 %: 19 for one found network, 3 for three."""
    return next(m for m in range(1, 20) if math.comb(m + found, found) * LEVEL >= 1)


def detectable_gap(found: int, controls: Sequence[float], best: float = PERCENT[1]) -> float | None:
    """How far above the controls' mean all of `found` had to be, at the least, for a yes; None where none could be.

    `best` is the largest value there is: a control that reaches it cannot be beaten.
    """
    ordered = sorted(controls)
    for beaten, value in enumerate(ordered, 1):
        if _chance(found * beaten, found, len(controls)) <= LEVEL:
            return value - statistics.fmean(controls) if value < best else None
    return None


def mean_interval(values: Sequence[float], bounds: tuple[float, float] = PERCENT) -> Estimate | None:
    """The mean of independent values with Student's 95 % interval, cut at `bounds`; None below three values."""
    return _cut(compare.mean_interval(values), bounds) if len(values) >= FEWEST else None


def difference(
    a: Sequence[float], b: Sequence[float], *, rows: float = 0.0, bounds: tuple[float, float] = PERCENT
) -> Estimate | None:
    """mean(a) - mean(b) with its 95 % interval; None where either has fewer than three values.

    Welch's, over networks and retraining seeds; `rows`, the variance that the choice of test rows adds
    (`row_variance`), has as many degrees of freedom as there are rows, which is taken for infinitely many.
    """
    if min(len(a), len(b)) < FEWEST:
        return None
    va, vb = statistics.variance(a) / len(a), statistics.variance(b) / len(b)
    gap, total = statistics.fmean(a) - statistics.fmean(b), va + vb + rows
    freedom = va**2 / (len(a) - 1) + vb**2 / (len(b) - 1)
    half = compare.t_quantile(total**2 / freedom if freedom else math.inf) * math.sqrt(total) if total else 0.0
    width = bounds[1] - bounds[0]
    return _cut(Estimate(gap, gap - half, gap + half, len(a) + len(b)), (-width, width))


def row_variance(a: ArrayLike, b: ArrayLike, unit: float = 100.0) -> float:
    """Variance of mean(a) - mean(b), in squares of `unit` (percent), over other test rows of the same kind.

    `a` (networks, rows) and `b` (others, rows) say what each row counts, such as which answers are right, on the same
    rows in the same order: paired, so that a row that is hard for everybody adds nothing. What differs
    between networks row by row is in the variance between networks too: together they count a little too much
    rather than too little.
    """
    gaps = unit * (np.asarray(a, dtype=np.float64).mean(0) - np.asarray(b, dtype=np.float64).mean(0))
    return float(gaps.var(ddof=1) / len(gaps)) if len(gaps) > 1 else 0.0


def not_worse(change: Estimate | None, margin: float) -> str:
    """Non-inferiority: yes where the interval of `change` lies above -margin, no where it lies below, else neither."""
    if change is None:
        return CANNOT_TELL
    if change.low > -margin:
        return YES
    return NO if change.high < -margin else CANNOT_TELL


def foreseeable_gap(sd: float, n: int, others: int | None = None) -> float | None:
    """The true gap that a 95 % interval would find in four of five cases, by this spread; None below three values.

    Of `n` paired differences, or of two groups of `n` and `others` values of standard deviation `sd` each. By the
    quantiles of t at 97.5 and 80 %, which is near enough to plan by.
    """
    if min(n, n if others is None else others) < FEWEST:
        return None
    freedom = n - 1 if others is None else n + others - 2
    error = sd * math.sqrt(1 / n + (0 if others is None else 1 / others))
    return (compare.t_quantile(freedom) + compare.t_quantile(freedom, 0.8)) * error


def _chance(won: int, found: int, controls: int) -> Fraction:
    """P(at least `won` pairs are won) where all orders of the values are equally likely: Mann and Whitney 1947, exact.

    With one found network this is (controls at least as good + 1) / (controls + 1).
    """
    ways = [1] + [0] * (found * controls)  # how many orders win so many pairs: a Gaussian binomial coefficient
    for i in range(1, found + 1):
        for u in range(len(ways) - 1, controls + i - 1, -1):
            ways[u] -= ways[u - controls - i]
        for u in range(i, len(ways)):
            ways[u] += ways[u - i]
    return Fraction(sum(ways[won:]), sum(ways))


def _cut(estimate: Estimate, bounds: tuple[float, float]) -> Estimate:
    low, high = (min(max(end, bounds[0]), bounds[1]) for end in (estimate.low, estimate.high))
    return Estimate(estimate.mean, low, high, estimate.n)
