"""Is what the search found better than random networks? The numbers, and one sentence that says of what it is a claim.

One search makes a claim about the network it found, several make one about the search (`winnow.measure.judgement`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from winnow.measure import judgement
from winnow.measure.compare import Estimate
from winnow.measure.judgement import CANNOT_TELL, NO, YES, Judgement

HELPED = {YES: True, NO: False, CANNOT_TELL: None}


@dataclass(frozen=True)
class Alike:
    """Accuracies in percent of networks that were trained alike, and which test images (networks, images) each told.

    `found` are retrainings of the found network, that of `retrain.seeds`' first seed first; `others` one retraining of
    each other network that further searches found; `controls` of each random one. `answers` are in the same order.
    """

    found: Sequence[float]
    others: Sequence[float]
    controls: Sequence[float]
    answers: ArrayLike

    @property
    def finds(self) -> list[float]:
        """One retraining of each network that a search found: what a rank is of."""
        return [self.found[0], *self.others]


def verdict(alike: Alike, searches: int, within: str) -> dict[str, Any]:
    """For reports/evaluate.json; `within` are the limits in words, or nothing."""
    finds, controls = alike.finds, alike.controls
    gap = _difference(alike)
    said = judgement.better_than_random(finds, controls, gap)
    seen = judgement.detectable_gap(len(finds), controls)
    return {
        "outcome": said.outcome,
        "helped": HELPED[said.outcome],
        "verdict": _sentence(alike, said, gap, seen, searches, within),
        "p_value": said.p,
        "pairs_won": said.won,
        "pairs": said.pairs,
        "detectable_gap": seen,
        "difference": _mean_gap(alike),
        "difference_ci_low": gap.low if gap else None,
        "difference_ci_high": gap.high if gap else None,
    }


def nothing_compared() -> dict[str, Any]:
    """Where there are no controls."""
    names = ("helped", "p_value", "detectable_gap", "difference", "difference_ci_low", "difference_ci_high")
    told = "cannot tell whether the found network is better than random ones: evaluate.controls is 0"
    return {"outcome": CANNOT_TELL, "verdict": told, **dict.fromkeys(names)}


def rival(
    digest: str, percents: Mapping[str, Sequence[float]], answers: Mapping[str, Sequence[Tensor]]
) -> dict[str, Any]:
    """The find of a random search beside the found network, both retrained alike, seed by seed."""
    found, other = percents["found"], percents["rival"]
    images = judgement.image_variance(*(torch.stack(list(answers[name])).numpy() for name in ("found", "rival")))
    gap = judgement.difference(found, other, images=images)
    mean = sum(found) / len(found) - sum(other) / len(other)
    if gap is None:
        outcome, interval = CANNOT_TELL, f"no interval from fewer than {judgement.FEWEST} retrain.seeds"
    else:
        outcome = YES if gap.low > 0 else NO if gap.high < 0 else CANNOT_TELL
        interval = f"95 % CI [{gap.low:+.2f}, {gap.high:+.2f}]"
    word = {YES: "better than", NO: "worse than", CANNOT_TELL: "not told apart from"}[outcome]
    told = f"the found network is {word} what random search found: {mean:+.2f} points, {interval}"
    return {
        "architecture": digest,
        "accuracies": list(other),
        "difference": mean,
        "difference_ci_low": gap.low if gap else None,
        "difference_ci_high": gap.high if gap else None,
        "outcome": outcome,
        "verdict": f"{told}; a claim about these two networks alone",
    }


def _group(alike: Alike) -> Sequence[float]:
    """What the mean difference is of: all retrainings of one found network, or one of each find."""
    return alike.finds if alike.others else alike.found


def _mean_gap(alike: Alike) -> float:
    group = _group(alike)
    return sum(group) / len(group) - sum(alike.controls) / len(alike.controls)


def _difference(alike: Alike) -> Estimate | None:
    rows, first = list(alike.answers), len(alike.found)  # type: ignore[arg-type]
    last = first + len(alike.others)
    group = [rows[0], *rows[first:last]] if alike.others else rows[:first]
    images = judgement.image_variance(group, rows[last:])
    return judgement.difference(_group(alike), alike.controls, images=images)


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
    interval = f", 95 % CI [{gap.low:+.2f}, {gap.high:+.2f}]" if gap else ""
    same = f" ({searches} searches found it)" if one and searches > 1 else ""
    points = f"{_mean_gap(alike):+.2f} points over their mean{interval}"
    told = f"{heads[said.outcome]}{same}: {won} (p = {said.p:.3f}), {points}"
    return f"{told}; {_edge(len(alike.finds), count, seen)}; all trained alike, by the recipe as it stands"


def _finds(finds: int, searches: int) -> str:
    return f"{searches} searches" if finds == searches else f"{searches} searches, {finds} different networks"


def _edge(finds: int, controls: int, seen: float | None) -> str:
    """The smallest gap that could have been seen."""
    fewest = judgement.fewest_controls(finds)
    if controls < fewest:
        return f"a yes takes {fewest} controls or more"
    if seen is None:
        return "no gap could have been seen: controls reach 100 %, which nothing beats"
    return f"a yes took more than {seen:+.2f} points"
