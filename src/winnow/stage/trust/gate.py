"""Are the numbers of the working tree as good as those of a git revision?

Every metric that the revision has must still be there. Those of `RULES` must not be worse than chance explains. For
accuracy, and calibration beside it, that is Welch's 95 % interval of accuracy over the retraining seeds of both sides;
for latency the intervals measured; for sizes, which have no spread, a stated share. All others are listed, not judged.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.measure import compare
from winnow.stage.files import REPORTS, SPLITS
from winnow.stage.trust.revision import LOCK, commit_of, files_at, outs_of, read_lock, text_at

EVALUATE = "evaluate"
SHARE = 0.05  # by which a network may grow
HIGHER, LOWER = "higher", "lower"
LARGEST = 1e15  # beyond it, sums of squares lose their meaning; no metric comes near
RULES = {  # of reports/evaluate.json: which way is better
    "accuracy_mean": HIGHER,
    "ece": LOWER,
    "params": LOWER,
    "macs": LOWER,
    "latency_ms": LOWER,
}
TEST = (SPLITS / "test.parquet").as_posix()


@dataclass(frozen=True)
class Row:
    """One metric. `tolerance` is how much worse it may be, in its own unit; None where it is not judged."""

    metric: str
    before: float | str | None
    after: float | str | None
    better: str  # higher, lower, or "" for what is not judged
    tolerance: float | None
    passed: bool
    why: str


@dataclass(frozen=True)
class Verdict:
    against: str  # as it was asked for
    commit: str
    rows: list[Row]

    @property
    def passed(self) -> bool:
        return all(row.passed for row in self.rows)

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows if not row.passed]


def gate(folder: Path, against: str, tolerances: Mapping[str, float] | None = None) -> Verdict:
    """Compare reports/**/*.json of `folder` with those at revision `against`.

    `tolerances` replace those worked out, by the metric's name ("accuracy_mean"). Refused where there is no such
    revision, it has no metrics, or a tolerance is for no metric that is judged.
    """
    tolerances = dict(tolerances or {})
    if unknown := set(tolerances) - set(RULES):
        raise Refused(f"no metric {min(unknown)!r} is judged by a tolerance; there are {', '.join(RULES)}")
    commit = commit_of(folder, against)
    names = [name for name in files_at(folder, commit, REPORTS.as_posix()) if name.endswith(".json")]
    before = {Path(name).relative_to(REPORTS).with_suffix("").as_posix(): _at(folder, commit, name) for name in names}
    if EVALUATE not in before:
        raise Refused(f"{against} has no {REPORTS}/evaluate.json: compare with a revision whose metrics are committed")
    image = one_image(before.get("prepare", {}))
    rows = [_same_test(folder, commit)]
    for name, metrics in sorted(before.items()):
        after = _here(folder / REPORTS / f"{name}.json")
        rows += _rows(name, metrics, after, tolerances, image)
    return Verdict(against, commit, [row for row in rows if row is not None])


def _rows(
    name: str, before: Mapping[str, Any], after: Mapping[str, Any], tolerances: Mapping[str, float], image: float
) -> list[Row]:
    rows: list[Row] = []
    present = dict(flat(after))
    for metric, value in flat(before):
        shown, now = f"{name}.{metric}", present.get(metric)
        if now is None:
            rows.append(Row(shown, value, None, "", None, False, "missing"))
        elif name == EVALUATE and metric in RULES:
            rows.append(_judged(metric, before, after, tolerances.get(metric), image))
        else:
            rows.append(Row(shown, value, now, "", None, True, ""))
    return rows


def _judged(metric: str, before: Mapping[str, Any], after: Mapping[str, Any], given: float | None, image: float) -> Row:
    better, name = RULES[metric], f"{EVALUATE}.{metric}"
    old, new = before[metric], after[metric]
    if len(finite([old, new])) < 2:
        return Row(name, old, new, better, None, False, "not a number")
    if metric == "latency_ms" and before.get("latency_device") != after.get("latency_device"):
        why = f"not judged: measured on {after.get('latency_device')}, before on {before.get('latency_device')}"
        return Row(name, old, new, "", None, True, why)
    several = max(len(finite(side.get("accuracies"))) for side in (before, after)) > 1
    if metric == "ece" and not several and given is None:
        return Row(name, old, new, "", None, True, "not judged: its spread over seeds is unknown")
    tolerance, source = (given, "as given") if given is not None else _tolerance(metric, before, after, image)
    if tolerance is None:
        return Row(name, old, new, better, None, False, source)
    worse = old - new if better == HIGHER else new - old
    passed = worse <= tolerance + 1e-9 * max(1.0, abs(old))
    return Row(name, old, new, better, tolerance, passed, source if passed else f"worse by {worse:.4g}; {source}")


def _tolerance(
    metric: str, before: Mapping[str, Any], after: Mapping[str, Any], image: float
) -> tuple[float | None, str]:
    """How much worse `metric` may be, and what says so; None where nothing can."""
    if metric in ("accuracy_mean", "ece"):  # both in points of percent, and the second moves with the first
        first, second = finite(before.get("accuracies")), finite(after.get("accuracies"))
        band = seed_band(first, second)
        if band is None:
            return None, "the spread over seeds is unknown: give retrain.seeds two or more, or --tolerance"
        if band < image:  # equal seeds do not mean that nothing moves
            return image, "one image of the test split; the seeds agree more closely"
        return band, f"95 % interval over seeds (n = {len(first)} and {len(second)})"
    if metric == "latency_ms":
        ends = [finite([side.get("latency_low"), side.get("latency_high")]) for side in (before, after)]
        if any(len(each) < 2 for each in ends):
            return None, "no interval of the latency"
        return math.hypot(*((high - low) / 2 for low, high in ends)), "95 % intervals of both medians"
    return SHARE * abs(float(before[metric])), f"{SHARE:.0%} of what it was"


def seed_band(first: list[float], second: list[float]) -> float | None:
    """Half of Welch's 95 % interval for the difference of two groups of accuracies over seeds.

    A group of one borrows the spread of the other; None where both have one.
    """
    if min(len(first), len(second)) == 1 < max(len(first), len(second)):
        several = max(first, second, key=len)
        gap = compare.mean_interval(several)
        spread = (gap.high - gap.mean) * math.sqrt(len(several))  # t times the standard deviation
        return spread * math.sqrt(1 / len(first) + 1 / len(second))
    if min(len(first), len(second)) < 2:
        return None
    gap = compare.difference(first, second)
    return gap.high - gap.mean


def one_image(prepared: Mapping[str, Any]) -> float:
    """What one image of the test split is worth in points of accuracy; 0 where reports/prepare.json does not tell."""
    images = prepared.get("images")
    count = finite([images.get("test")]) if isinstance(images, Mapping) else []
    return 100 / count[0] if count and count[0] > 0 else 0.0


def flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float | str]]:
    """Dotted names of what can be compared: numbers, truths and words; lists and empty values are left out."""
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | str) or finite([value]):
            yield f"{prefix}{name}", value


def _same_test(folder: Path, commit: str) -> Row | None:
    """Accuracies on another test split do not compare; None where a lock file does not say which split it is."""
    here = folder / LOCK
    then = outs_of(read_lock(text_at(folder, commit, LOCK))).get(TEST)
    now = outs_of(read_lock(here.read_text(encoding="utf-8", errors="replace") if here.is_file() else None)).get(TEST)
    if then is None or now is None:
        return None
    why = "" if then == now else "another test split: accuracies do not compare"
    return Row("test split", then[:8], now[:8], "", None, then == now, why)


def _at(folder: Path, commit: str, name: str) -> dict[str, Any]:
    return _parsed(text_at(folder, commit, name) or "", f"{name} at {commit[:10]}")


def _here(path: Path) -> dict[str, Any]:
    return _parsed(path.read_text(encoding="utf-8", errors="replace"), str(path)) if path.is_file() else {}


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Refused(f"{name} is not JSON: run the stage that writes it again") from error
    if not isinstance(found, dict):
        raise Refused(f"{name} holds {type(found).__name__}, a metrics file holds names and values")
    return found


def finite(values: Any) -> list[float]:
    """The numbers of a list that can be reckoned with; not a truth, not infinity, nothing absurdly large."""
    found = values if isinstance(values, list) else []
    return [float(v) for v in found if isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < LARGEST]
