"""Is what the search found better than random networks? The numbers, and one sentence that says of what it is a claim.

One search makes a claim about the network it found, several make one about the search (`winnow.measure.judgement`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from winnow.config.params import ORIGINAL
from winnow.measure import judgement
from winnow.measure.compare import Estimate
from winnow.measure.judgement import CANNOT_TELL, NO, YES, Judgement
from winnow.run.beside import ALIKE, interval, told, turned
from winnow.tasks.task import PERCENT, Metric

HELPED = {YES: True, NO: False, CANNOT_TELL: None}


@dataclass(frozen=True)
class Alike:
    """Scores, by the first metric of a task, of networks that were trained alike.

    `found` are retrainings of the found network, that of `retrain.seeds`' first seed first; `others` one retraining of
    each other network that further searches found; `controls` of each random one. `answers` (networks, rows) are what
    each test row counted, in the same order; None where the metric is no mean over rows.
    """

    found: Sequence[float]
    others: Sequence[float]
    controls: Sequence[float]
    answers: ArrayLike | None
    metric: Metric = PERCENT

    @property
    def finds(self) -> list[float]:
        """One retraining of each network that a search found: what a rank is of."""
        return [self.found[0], *self.others]


def verdict(alike: Alike, searches: int, within: str) -> dict[str, Any]:
    """For reports/evaluate.json; `within` are the limits in words, or nothing.

    Judged is with the metric turned so that more is better; told are differences in the metric itself.
    """
    metric, gap = alike.metric, _difference(alike)
    finds, controls = (turned(metric, values) for values in (alike.finds, alike.controls))
    said = judgement.better_than_random(finds, controls, gap, metric.bounds[1])
    seen = judgement.detectable_gap(len(finds), controls, metric.bounds[1])
    low, high = told(metric, gap)
    return {
        "outcome": said.outcome,
        "helped": HELPED[said.outcome],
        "verdict": _sentence(alike, said, gap, seen, searches, within),
        "p_value": said.p,
        "pairs_won": said.won,
        "pairs": said.pairs,
        "detectable_gap": None if seen is None else metric.sign * seen,
        "difference": _mean_gap(alike),
        "difference_ci_low": low,
        "difference_ci_high": high,
    }


def verdicts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sentences that lead the report, each after its outcome: against the original, random networks, the others."""
    rows = result["against"]
    original, others = ([row for row in rows if (row["name"] == ORIGINAL) is first] for first in (True, False))
    random = [result] if result["control_n"] or not rows else []
    return [(row["outcome"], row["verdict"]) for row in (*original, *random, *others)]


def nothing_compared(controls: int) -> dict[str, Any]:
    """Where there are no random networks: `controls` is 0, or nobody asked for them."""
    names = ("helped", "p_value", "detectable_gap", "difference", "difference_ci_low", "difference_ci_high")
    why = "evaluate.against has no random" if controls else "evaluate.controls is 0"
    said = f"cannot tell whether the found network is better than random ones: {why}"
    return {"outcome": CANNOT_TELL, "verdict": said, **dict.fromkeys(names)}


def _group(alike: Alike) -> Sequence[float]:
    """What the mean difference is of: all retrainings of one found network, or one of each find."""
    return alike.finds if alike.others else alike.found


def _mean_gap(alike: Alike) -> float:
    group = _group(alike)
    return sum(group) / len(group) - sum(alike.controls) / len(alike.controls)


def _difference(alike: Alike) -> Estimate | None:
    """Turned so that more is better."""
    metric, rows = alike.metric, 0.0
    if alike.answers is not None:
        answers: list[Any] = list(alike.answers)  # type: ignore[arg-type]
        first = len(alike.found)
        last = first + len(alike.others)
        right = [answers[0], *answers[first:last]] if alike.others else answers[:first]
        rows = judgement.row_variance(right, answers[last:], metric.shown(1.0))
    group, controls = (turned(metric, values) for values in (_group(alike), alike.controls))
    return judgement.difference(group, controls, rows=rows, bounds=metric.bounds)


def _sentence(
    alike: Alike, said: Judgement, gap: Estimate | None, seen: float | None, searches: int, within: str
) -> str:
    count = len(alike.controls)
    random = f"random networks{f' within the same limits ({within})' if within else ''}"
    one = len(alike.finds) == 1
    who = "the found network" if one else f"what the search finds ({_finds(len(alike.finds), searches)})"
    heads = {
        YES: f"yes, {who} is better than {random}",
        NO: f"no, {who} is not better than {random}",
        CANNOT_TELL: f"cannot tell whether {who} is better than {random}",
    }
    won = f"it beats {said.won} of {count}" if one else f"it wins {said.won} of {said.pairs} pairs with {count}"
    sure = "" if gap is None else f", {interval(alike.metric, *told(alike.metric, gap))}"
    same = f" ({searches} searches found it)" if one and searches > 1 else ""
    points = f"{alike.metric.gap(_mean_gap(alike))} over their mean{sure}"
    text = f"{heads[said.outcome]}{same}: {won} (p = {said.p:.3f}), {points}"
    return f"{text}; {_edge(alike.metric, len(alike.finds), count, seen)}; {ALIKE}"


def _finds(finds: int, searches: int) -> str:
    return f"{searches} searches" if finds == searches else f"{searches} searches, {finds} different networks"


def _edge(metric: Metric, finds: int, controls: int, seen: float | None) -> str:
    """The smallest gap that could have been seen."""
    fewest = judgement.fewest_controls(finds)
    if controls < fewest:
        return f"a yes takes {fewest} controls or more"
    if seen is None:
        best = metric.text(metric.sign * metric.bounds[1]).replace(".00", "")
        return f"no gap could have been seen: controls reach {best}, which nothing beats"
    more = "more" if metric.sign > 0 else "less"
    return f"a yes took {more} than {metric.gap(metric.sign * seen)}"
