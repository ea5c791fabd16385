"""Beyond bits: whether the numbers of a stage lie within the seed band, and whether it decided the same."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.run.files import ARCHITECTURE, RECIPE
from winnow.run.outside import INPUTS
from winnow.trust.gate import SHARE, finite, flat, seed_band
from winnow.trust.same import exempt

DECISIONS = {  # what a stage decided, by the file that says so
    ARCHITECTURE.as_posix(): ("choices",),
    RECIPE.as_posix(): ("tuned",),
    "data/splits/manifest.json": ("splits",),
    "reports/evaluate.json": ("architecture", "helped"),
}

RANKS = ("p_value", "pairs_won")  # of reports/evaluate.json: a rank jumps where two networks are close; outcome tells


def within_band(references: Mapping[str, Path | None], scratch: Path, spread: Mapping[str, Any]) -> list[str]:
    """The metrics of a stage, "file: name before → now", that moved by more than other seeds would move them.

    Scores and points of percent (calibration) have Welch's band over the seeds of `spread`, the recorded evaluate.json;
    what has no spread over seeds there (losses, sizes) has `SHARE` of itself. Words and truths must be equal.
    """
    scores = finite(spread.get("scores") or spread.get("accuracies"))  # the second of an older winnow
    band = seed_band(scores, scores) or 0.0
    outside = []
    for name, reference in references.items():
        if not (name.startswith("reports/") and name.endswith(".json")):
            continue
        before, now = _numbers(reference), _numbers(scratch / name)
        if reference is None:
            outside.append(f"{name}: what was recorded is not here")
        for metric in sorted(before):
            old, new = before[metric], now.get(metric)
            if not _near(metric, old, new, band):
                outside.append(f"{name}: {metric} {_shown(old)} → {_shown(new)}")
    return outside


def decided(references: Mapping[str, Path | None], scratch: Path) -> bool | None:
    """Whether what the stage decided is the same; None where it decides nothing or nobody can tell."""
    told = []
    for name, keys in DECISIONS.items():
        if name in references:
            before, now = _content(references[name]), _content(scratch / name)
            told.append(bool(before) and all(before.get(key) == now.get(key) for key in keys))
    told += [
        _content(at) == _content(scratch / name) for name, at in references.items() if name.startswith(f"{INPUTS}/")
    ]
    return all(told) if told else None


def _near(metric: str, old: Any, new: Any, points: float) -> bool:
    if isinstance(old, bool | str) or not isinstance(new, int | float) or isinstance(new, bool):
        return metric.endswith("verdict") or old == new  # the sentence repeats numbers that are compared
    if metric in RANKS:
        return True
    scores = any(word in metric for word in ("score", "accuracy", "ece", "agreement", "difference", "gap"))
    return math.isclose(old, new, rel_tol=0, abs_tol=points if scores else SHARE * abs(old) + 1e-9)


def _numbers(path: Path | None) -> dict[str, Any]:
    known = exempt("reports/evaluate.json") if path is not None and path.name == "evaluate.json" else None
    left_out = known.without if known and known.without else ()
    return {name: value for name, value in flat(_content(path)) if name not in left_out}


def _content(path: Path | None) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError):  # not written, or no JSON: nothing in it is the same
        return {}
    return content if isinstance(content, dict) else {}


def _shown(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
