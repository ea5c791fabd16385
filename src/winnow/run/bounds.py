"""What a verdict stands on, as the rows of one chart: found and random networks, random search, rivals, the front."""

from collections.abc import Mapping, Sequence
from typing import Any

from winnow.config.params import ORIGINAL
from winnow.measure.judgement import mean_interval
from winnow.run.tradeoff import YOURS
from winnow.tasks.task import Metric


def bounds_drawn(result: Mapping[str, Any], first: Metric, metric: str) -> tuple[list[dict[str, Any]], str, str]:
    """What `winnow.look.bounds.bounds` takes: the rows, the name of the metric, and whether more or less is better."""
    return bounds_of(result, first), metric, "more" if first.sign > 0 else "less"


def bounds_of(result: Mapping[str, Any], metric: Metric) -> list[dict[str, Any]]:
    """Of reports/evaluate.json, for `winnow.look.bounds`: found first, then what it is compared with.

    With several searches there is a row of one retraining of each find too, which is what random ones are beside.
    """
    rows = [_row("found", "found", result.get("found_scores") or result["scores"], metric)]
    if len(result.get("finds", ())) > 1:
        rows.append(_row("what searches found", "found", result["find_scores"], metric))
    if result["control_n"]:
        rows.append(_row("random networks", "random", result["control_scores"], metric, result))
    if sought := result["random_search"] if result["control_n"] else None:
        rows.append(_row("random search", "rival", sought["scores"], metric, sought))
    for each in result["against"]:
        yours = each["name"] == ORIGINAL
        name, kind = (YOURS, "original") if yours else (each["name"], "rival")
        rows.append(_row(name, kind, each["scores"], metric, each))
    return rows + [_row(each["name"], "front", each["scores"], metric) for each in result["front"]]


def _row(
    name: str, kind: str, scores: Sequence[float], metric: Metric, against: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    interval = mean_interval(scores, (metric.low, metric.high))
    ends = (interval.low, interval.high) if interval else (None, None)
    row = {"name": name, "kind": kind, "scores": list(scores), "low": ends[0], "high": ends[1], **_nothing()}
    if against is None or against["difference"] is None:
        return row
    margin = against.get("margin")
    return row | {
        "gap": against["difference"],
        "gap_low": against["difference_ci_low"],
        "gap_high": against["difference_ci_high"],
        "outcome": against["outcome"],
        "margin": None if margin is None else -metric.sign * margin,
    }


def _nothing() -> dict[str, None]:
    return dict.fromkeys(("gap", "gap_low", "gap_high", "outcome", "margin"))
