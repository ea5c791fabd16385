"""What is known of score against cost, as rows to draw: the found network, the front, baselines and random ones."""

from collections.abc import Mapping
from typing import Any

from winnow.config.params import ORIGINAL, Params
from winnow.measure.judgement import mean_interval
from winnow.tasks.task import Metric

YOURS = "your network"
LATENCY = "latency_ms"


def cost_of(params: Params) -> str:
    """What alone is limited, params or milliseconds of this machine; else macs."""
    select = params.select
    limited = {"params": select.max_params, "macs": select.max_macs, LATENCY: select.max_latency_ms}
    names = [name for name, limit in limited.items() if limit is not None]
    return names[0] if len(names) == 1 and not (names == [LATENCY] and select.devices) else "macs"


def points(result: Mapping[str, Any], cost: str, metric: Metric) -> list[dict[str, Any]]:
    """Of reports/evaluate.json: `kind`, `name`, `cost`, `score` and the ends of its interval over seeds, or None."""
    rows = [
        {"kind": "random", "name": "", "cost": size, "score": score, "low": None, "high": None}
        for size, score in zip(result[f"control_{cost}"], result["control_scores"], strict=True)
    ]
    rows += [_row("front", row["name"], row[cost], row["scores"], metric) for row in result["front"]]
    for row in result["against"]:
        yours = row["name"] == ORIGINAL
        kind, name = ("original", YOURS) if yours else ("rival", row["name"])
        rows.append(_row(kind, name, row[cost], row["scores"], metric))
    scores = result.get("found_scores") or result["scores"]
    return [*rows, _row("found", "found", result[cost], scores, metric)]


def _row(kind: str, name: str, cost: float, scores: list[float], metric: Metric) -> dict[str, Any]:
    interval = mean_interval(scores, (metric.low, metric.high))
    ends = {"low": interval.low if interval else None, "high": interval.high if interval else None}
    return {"kind": kind, "name": name, "cost": cost, "score": sum(scores) / len(scores), **ends}
