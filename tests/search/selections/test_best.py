"""search.selections.best: of hand-made trials, which is taken, what is shown of each, and what stands in the way."""

from dataclasses import replace

import pytest
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.selection import selection_of
from winnow.search.selections.best import best_trial
from winnow.trials.plan import Plan
from winnow.trials.table import Row

PLAN = Plan({"accuracy": "maximize"}, fidelity={"epochs": 6})


def trial(number: int, accuracy: float, **more) -> Row:
    """Complete, in full, feasible; its architecture says its number."""
    arch = Architecture.of({"a": number})
    known = {"accuracy": accuracy, "loss": number / 2}
    at = {"parameters": "{}", "copy_of": None, "seed": 0, "seconds": 1.0, "device": "cpu", "error": ""}
    row = Row(
        number,
        arch.to_json(),
        arch.digest,
        objectives={"accuracy": accuracy},
        constraints={},
        metrics=known,
        state="complete",
        fidelity={"epochs": 6},
        **at,
    )
    return replace(row, **more)


def bench(rows: list[Row], plan: Plan = PLAN, **more) -> Bench:
    return Bench(Space(nn.Identity(), fixed=True), 0, trials=lambda: (plan, rows), **more)


def test_the_best_trial_is_taken_and_each_is_shown_with_what_it_reached():
    rows = [trial(0, 60.0), trial(1, 90.0), trial(2, 80.0)]
    arch, shown = best_trial(bench(rows))
    assert dict(arch) == {"a": 1}
    assert [row["kept"] for row in shown] == [False, True, False]
    assert [(row["event"], row["option"]) for row in shown] == [(row.number, row.digest) for row in rows]
    assert [(row["accuracy"], row["loss"]) for row in shown] == [(60.0, 0.0), (90.0, 0.5), (80.0, 1.0)]


def test_a_trial_that_measured_nothing_is_shown_without_numbers():
    failed = trial(1, 0.0, state="failed", objectives={}, metrics={})
    _, shown = best_trial(bench([trial(0, 60.0), failed]))
    assert (shown[1]["accuracy"], shown[1]["loss"], shown[1]["kept"]) == (None, None, False)


def test_the_best_within_the_limits_is_taken_and_the_others_are_shown_all_the_same():
    rows = [trial(0, 60.0), trial(1, 90.0), trial(2, 80.0), trial(3, 70.0)]
    arch, shown = best_trial(bench(rows, allowed=lambda arch: arch["a"] != 1))
    assert dict(arch) == {"a": 2}
    assert [row["kept"] for row in shown] == [False, False, True, False]


def test_where_nothing_finished_is_within_the_limits_it_says_of_how_many():
    """Those that were stopped early, or passed a constraint, count among neither."""
    early = trial(2, 99.0, fidelity={"epochs": 2})
    passed = trial(3, 99.0, constraints={"params max": 1.0})
    made = bench([trial(0, 60.0), trial(1, 90.0), early, passed], allowed=lambda arch: False, limits="max_params 3")
    with pytest.raises(Refused, match="none of 2 finished trials is within max_params 3: raise what stands in the way"):
        best_trial(made)


def test_limits_are_asked_of_feasible_trials_in_full_alone():
    asked = []
    early, passed = trial(1, 99.0, fidelity={"epochs": 2}), trial(2, 99.0, constraints={"params max": 1.0})
    made = bench([trial(0, 60.0), early, passed], allowed=lambda arch: asked.append(arch["a"]) or True)
    assert dict(best_trial(made)[0]) == {"a": 0}
    assert asked == [0]


def test_where_no_trial_is_feasible_the_study_says_why_and_no_limit_is_blamed():
    made = bench([trial(0, 0.0, state="failed", objectives={}, error="MemoryError")], allowed=lambda arch: False)
    with pytest.raises(Refused, match="none of 1 trials completed; the first error: MemoryError"):
        best_trial(made)


def test_it_asks_for_trials_and_looks_at_whole_networks():
    record = selection_of(best_trial)
    assert (record.needs, record.keeps_limits) == ("trials", True)
    with pytest.raises(Refused, match="needs trials, which the search before it does not leave"):
        best_trial(Bench(Space(nn.Identity(), fixed=True), 0))
