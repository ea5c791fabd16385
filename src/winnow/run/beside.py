"""The found network beside one other, both trained alike and once a seed: is it better, or no worse by a margin?

A claim about these two networks alone; by the same difference and interval as everywhere (`measure.judgement`).
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.config.params import ORIGINAL
from winnow.measure import judgement
from winnow.measure.compare import Estimate
from winnow.measure.judgement import CANNOT_TELL, NO, YES
from winnow.tasks.task import Metric

ALIKE = "all trained alike, by the recipe as it stands"
NO_INTERVAL = f"no interval from fewer than {judgement.FEWEST} retrain.seeds"


@dataclass(frozen=True)
class Pair:
    """Scores of two networks by `metric`, one a seed.

    `answers` are what each test row counts, (networks, rows) of each; None where the metric is no mean over rows.
    """

    found: Sequence[float]
    other: Sequence[float]
    answers: tuple[Any, Any] | None
    metric: Metric

    @property
    def mean(self) -> float:
        """The difference in the metric itself."""
        return sum(self.found) / len(self.found) - sum(self.other) / len(self.other)

    def gap(self) -> Estimate | None:
        """Turned so that more is better; None from too few seeds."""
        rows = 0.0 if self.answers is None else judgement.row_variance(*self.answers, self.metric.shown(1.0))
        sides = [turned(self.metric, values) for values in (self.found, self.other)]
        return judgement.difference(*sides, rows=rows, bounds=self.metric.bounds)


def no_worse(
    name: str, pair: Pair, shares: Mapping[str, float], given: float | None, same: bool, apart: str = ""
) -> dict[str, Any]:
    """Beside an entry `name` of evaluate.against: non-inferiority, for reports/evaluate.json.

    `shares` are sizes of the found network over those of the other, by words; `given` is the margin in the metric's
    unit, or None for the usual one. `same` where the two are one network; `apart` says what they began with where that
    is not alike.
    """
    metric, gap = pair.metric, pair.gap()
    margin = usual_margin(metric, statistics.fmean(pair.other)) if given is None else given
    outcome = YES if same else judgement.not_worse(gap, margin)
    low, high = told(metric, gap)
    return {
        "difference": pair.mean,
        "difference_ci_low": low,
        "difference_ci_high": high,
        "loss_at_most": None if gap is None else max(0.0, -gap.low),
        "margin": margin,
        "outcome": outcome,
        "verdict": _sentence(name, pair, gap, shares, margin, outcome, same) + (f", {apart}" if apart else ""),
    }


def usual_margin(metric: Metric, other: float) -> float:
    """A point of a percentage, else a share of what the other network reaches."""
    return judgement.MARGIN if metric.unit == "%" else judgement.LOSS * abs(other)


def _sentence(
    name: str, pair: Pair, gap: Estimate | None, shares: Mapping[str, float], margin: float, outcome: str, same: bool
) -> str:
    metric, who = pair.metric, "your network" if name == ORIGINAL else name
    sizes = " and ".join(f"{share:.2f} × its {what}" for what, share in shares.items())
    if same:
        return f"yes, what was found is {who} itself: nothing was made smaller"
    allowed = f"{margin:g} point{'' if margin == 1 else 's'}" if metric.unit == "%" else _plain(metric, margin)
    heads = {
        YES: f"yes, the found network is as good as {who} within {allowed}",
        NO: f"no, the found network is worse than {who} by more than {allowed}",
        CANNOT_TELL: f"cannot tell whether the found network is as good as {who} within {allowed}",
    }
    head = heads[outcome]
    if gap is None:
        sure = NO_INTERVAL
    elif gap.low > 0:
        head, sure = f"yes, the found network is better than {who}", f"at least {_plain(metric, gap.low)} by 95 %"
    elif outcome == NO:
        sure = interval(metric, *told(metric, gap))
    else:
        sure = f"no worse than {_plain(metric, -gap.low)} by 95 %"
    return f"{head}: {sizes}, {metric.gap(pair.mean)}, {sure} (n = {len(pair.found)} and {len(pair.other)}); {ALIKE}"


def random_search(digest: str, pair: Pair) -> dict[str, Any]:
    """Beside the find of a random search."""
    metric, gap = pair.metric, pair.gap()
    low, high = told(metric, gap)
    if gap is None:
        outcome, sure = CANNOT_TELL, NO_INTERVAL
    else:
        outcome = YES if gap.low > 0 else NO if gap.high < 0 else CANNOT_TELL
        sure = interval(metric, low, high)
    word = {YES: "better than", NO: "worse than", CANNOT_TELL: "not told apart from"}[outcome]
    said = f"the found network is {word} what random search found: {metric.gap(pair.mean)}, {sure}"
    return {
        "architecture": digest,
        "scores": list(pair.other),
        "difference": pair.mean,
        "difference_ci_low": low,
        "difference_ci_high": high,
        "outcome": outcome,
        "verdict": f"{said}; a claim about these two networks alone",
    }


def over_seeds(scores: list[float], metric: Metric) -> dict[str, Any]:
    """Scores over seeds, as reports/evaluate.json has them."""
    interval = judgement.mean_interval(scores, (metric.low, metric.high))
    return {
        "score_mean": statistics.fmean(scores),
        "score_sd": sd(scores),
        "n": len(scores),
        "score_ci_low": interval.low if interval else None,
        "score_ci_high": interval.high if interval else None,
        "scores": scores,
    }


def sd(values: list[float]) -> float | None:
    return statistics.stdev(values) if len(values) > 1 else None


def turned(metric: Metric, values: Sequence[float]) -> list[float]:
    """So that more is better."""
    return [metric.sign * value for value in values]


def told(metric: Metric, gap: Estimate | None) -> tuple[float | None, float | None]:
    """The ends of an interval in the metric itself, the lower one first."""
    if gap is None:
        return None, None
    low, high = sorted((metric.sign * gap.low, metric.sign * gap.high))
    return low, high


def interval(metric: Metric, low: float | None, high: float | None) -> str:
    """In words; the empty text without ends."""
    if low is None or high is None:
        return ""
    ends = (metric.gap(end).removesuffix(" points") for end in (low, high))
    return f"95 % CI [{', '.join(ends)}]"


def _plain(metric: Metric, size: float) -> str:
    """A size of a difference, without a sign."""
    return metric.gap(size).removeprefix("+")
