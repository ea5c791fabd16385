"""Are the numbers of the working tree as good as those of a git revision? Yes, no, or cannot tell.

Every metric that the revision has must still be there. Those of `RULES` must not be worse by more than a margin: where
they vary, the whole 95 % interval of the change must lie above minus the margin, so that noise never passes for
equality. Of the first metric of the task, in its own direction, and of calibration the margin is a parameter, and the
interval is over retraining seeds, of accuracy over test images too, image by image; of latency over what was measured.
All others are listed, not judged.
"""

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.measure import compare, judgement
from winnow.measure.compare import Estimate
from winnow.measure.judgement import CANNOT_TELL, NO, YES
from winnow.run.answers import unpacked
from winnow.run.files import REPORTS, SPLITS
from winnow.run.revision import LOCK, commit_of, files_at, outs_of, read_lock, text_at

EVALUATE = "evaluate"
SHARE = 0.05  # by which a network may grow
SLOWER = 0.2  # the share by which it may be slower: so much lies between two runs of one network on one machine
HIGHER, LOWER = "higher", "lower"
LARGEST = 1e15  # beyond it, sums of squares lose their meaning; no metric comes near
RULES = {  # of reports/evaluate.json: which way is better
    "accuracy_mean": HIGHER,
    "ece": LOWER,
    "params": LOWER,
    "macs": LOWER,
    "latency_ms": LOWER,
}
SCORE = "score_mean"  # of a task whose first metric is not accuracy, with the goal that the report names
EXACT = f"{SHARE:.0%} of what it was"
TEST = (SPLITS / "test.parquet").as_posix()


@dataclass(frozen=True)
class Row:
    """One metric. `tolerance` is how much worse it may be, in its own unit; None where it is not judged.

    `outcome` is yes, no or cannot tell; what is not judged passes.
    """

    metric: str
    before: float | str | None
    after: float | str | None
    better: str  # higher, lower, or "" for what is not judged
    tolerance: float | None
    outcome: str
    why: str

    @property
    def passed(self) -> bool:
        return self.outcome == YES


@dataclass(frozen=True)
class Verdict:
    against: str  # as it was asked for
    commit: str
    rows: list[Row]

    @property
    def outcome(self) -> str:
        """The worst of the rows: no, before cannot tell, before yes."""
        said = {row.outcome for row in self.rows}
        return next((each for each in (NO, CANNOT_TELL) if each in said), YES)

    @property
    def passed(self) -> bool:
        return self.outcome == YES

    @property
    def failures(self) -> list[Row]:
        """What does not pass, the worst first."""
        return [row for each in (NO, CANNOT_TELL) for row in self.rows if row.outcome == each]


def gate(
    folder: Path, against: str, tolerances: Mapping[str, float] | None = None, margin: float | None = None
) -> Verdict:
    """Compare reports/**/*.json of `folder` with those at revision `against`.

    `margin` is in the unit of the task's first metric: points of a percentage. None: one of these, else `LOSS` of what
    it was. `tolerances`, by the metric's name ("params"), say instead how much worse the
    measured value itself may be, whatever its spread. Refused where there is no such revision, it has no metrics, or a
    tolerance is for no metric that is judged.
    """
    tolerances = dict(tolerances or {})
    commit = commit_of(folder, against)
    names = [name for name in files_at(folder, commit, REPORTS.as_posix()) if name.endswith(".json")]
    before = {Path(name).relative_to(REPORTS).with_suffix("").as_posix(): _at(folder, commit, name) for name in names}
    if EVALUATE not in before:
        raise Refused(f"{against} has no {REPORTS}/evaluate.json: compare with a revision whose metrics are committed")
    rules = _rules(before[EVALUATE])
    if unknown := set(tolerances) - {*rules}:
        raise Refused(f"no metric {min(unknown)!r} is judged by a tolerance; there are {', '.join(rules)}")
    rows = [_same_test(folder, commit)]
    for name, metrics in sorted(before.items()):
        after = _here(folder / REPORTS / f"{name}.json")
        rows += _rows(name, metrics, after, tolerances, margin)
    return Verdict(against, commit, [row for row in rows if row is not None])


def _rows(
    name: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    tolerances: Mapping[str, float],
    margin: float | None,
) -> list[Row]:
    rows: list[Row] = []
    present, rules = dict(flat(after)), _rules(before)
    for metric, value in flat(before):
        shown, now = f"{name}.{metric}", present.get(metric)
        if now is None:
            rows.append(Row(shown, value, None, "", None, NO, "missing"))
        elif name == EVALUATE and metric in rules:
            rows.append(_judged(metric, rules[metric], before, after, tolerances.get(metric), margin))
        else:
            rows.append(Row(shown, value, now, "", None, YES, ""))
    return rows


def _rules(before: Mapping[str, Any]) -> dict[str, str]:
    """What is judged, and which way is better: accuracy by its own name, any other first metric as the score."""
    if before.get("metric") in (None, "accuracy"):
        return RULES
    others = {name: better for name, better in RULES.items() if name != "accuracy_mean"}
    return {SCORE: LOWER if before.get("goal") == "minimize" else HIGHER, **others}


def _judged(
    metric: str,
    better: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    given: float | None,
    margin: float | None,
) -> Row:
    name = f"{EVALUATE}.{metric}"
    old, new = before[metric], after[metric]
    if len(finite([old, new])) < 2:
        return Row(name, old, new, better, None, NO, "not a number")
    if metric == SCORE and before["metric"] != after.get("metric"):
        why = f"now {after.get('metric')}, before {before['metric']}: the two do not compare"
        return Row(name, old, new, better, None, CANNOT_TELL, why)
    if metric == "latency_ms" and before.get("latency_device") != after.get("latency_device"):
        why = f"not judged: measured on {after.get('latency_device')}, before on {before.get('latency_device')}"
        return Row(name, old, new, "", None, YES, why)
    worse = old - new if better == HIGHER else new - old
    if given is not None or metric in ("params", "macs"):
        allowed, why = (given, "as given: the measured value") if given is not None else (SHARE * abs(old), EXACT)
        wrong = f"worse by {worse:.4g}; {why}"
        passed = worse <= allowed + 1e-9 * max(1.0, abs(old))
        return Row(name, old, new, better, allowed, YES if passed else NO, why if passed else wrong)
    if metric == "ece" and not finite(before.get("eces")):
        return Row(name, old, new, "", None, YES, "not judged: the revision does not say how it spreads over seeds")
    allowed = SLOWER * abs(old) if metric == "latency_ms" else _allowed(metric, before, margin)
    outcome, why = _varying(metric, better, before, after, allowed)
    return Row(name, old, new, better, allowed, outcome, why)


def _allowed(metric: str, before: Mapping[str, Any], margin: float | None) -> float:
    percent = _in_percent(before.get("metric") or "accuracy")
    if metric == "ece":  # in points, whatever the unit of the first metric
        return judgement.MARGIN if margin is None or not percent else margin
    usual = judgement.MARGIN if percent else judgement.LOSS * abs(before[metric])
    return usual if margin is None else margin


def _in_percent(metric: str) -> bool:
    """As the tasks of winnow have it; the metric of a task of one's own is taken for none."""
    if metric == "accuracy":
        return True
    from winnow.tasks import TASKS, task_named  # torch takes seconds to import

    return any(task.metric == metric and task.first.unit == "%" for task in map(task_named, TASKS))


LISTS = {"accuracy_mean": "accuracies", SCORE: "scores", "ece": "eces"}  # the values over seeds behind a metric
MEASURED = {  # all that a metric is told by: where these are equal, nothing changed
    "accuracy_mean": ("accuracy_mean", "accuracies", "right"),
    SCORE: (SCORE, "scores"),
    "ece": ("ece", "eces"),
    "latency_ms": ("latency_ms", "latency_low", "latency_high"),
}


def _varying(
    metric: str, better: str, before: Mapping[str, Any], after: Mapping[str, Any], margin: float
) -> tuple[str, str]:
    """The outcome for a metric with a spread, and what it rests on."""
    if all(before.get(name) == after.get(name) for name in MEASURED[metric]):
        return YES, "unchanged"
    if metric in ("accuracy_mean", SCORE):
        for side in (before, after):
            values = finite(side.get(LISTS[metric]))
            if values and not math.isclose(statistics.fmean(values), side[metric], rel_tol=1e-6):
                return NO, f"it is not the mean of {LISTS[metric]}, {statistics.fmean(values):.4g}"
    change, source = _latency(before, after) if metric == "latency_ms" else _over_seeds(metric, better, before, after)
    if change is None:
        return CANNOT_TELL, source
    told = f"change {change.mean:+.4g}, 95 % interval {change.low:+.4g} to {change.high:+.4g} {source}"
    return judgement.not_worse(change, margin), told


def _over_seeds(
    metric: str, better: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[Estimate | None, str]:
    """The change for the better with its interval, and what that is over; None where too few seeds allow none."""
    new, old = (finite(side.get(LISTS[metric])) for side in (after, before))
    source = f"over retraining seeds (n = {len(old)} and {len(new)})"
    if min(len(old), len(new)) < judgement.FEWEST:
        return None, f"no interval {source}: give retrain.seeds {judgement.FEWEST} or more"
    if metric == "ece":
        return judgement.difference(old, new), source
    if metric == SCORE:
        sides = (new, old) if better == HIGHER else (old, new)
        return judgement.difference(*sides, bounds=(-math.inf, math.inf)), source
    now, then = (unpacked(side.get("right"), side.get("test_images")) for side in (after, before))
    if now is None or then is None or now.shape[1] != then.shape[1]:
        return judgement.difference(new, old), f"{source}, not over test images: one side does not say which it told"
    rows = judgement.row_variance(now, then)
    return judgement.difference(new, old, rows=rows), f"{source} and {now.shape[1]} test images"


def _latency(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Estimate | None, str]:
    ends = [finite([side.get("latency_low"), side.get("latency_high")]) for side in (before, after)]
    if any(len(each) < 2 for each in ends):
        return None, "no interval of the latency"
    half = math.hypot(*((high - low) / 2 for low, high in ends))
    gap = float(before["latency_ms"]) - float(after["latency_ms"])
    return Estimate(gap, gap - half, gap + half, 2), "by those of both measurements"


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
    if then == now:
        return Row("test split", then[:8], now[:8], "", None, YES, "")
    return Row("test split", then[:8], now[:8], "", None, CANNOT_TELL, "another test split: accuracies do not compare")


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
