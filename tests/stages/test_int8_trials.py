"""Trials judged in eight bits too: a column, an objective, a limit; and what is said where the winner changes."""

import json

import pytest

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.pipelines import search
from winnow.run import files, int8, report
from winnow.run.int8 import winner_in_eight_bits
from winnow.tasks import task_named
from winnow.trials.table import as_rows, read_table

pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
TASK = task_named("image_classification")


def trying(**changes):
    own = {
        "search__strategy": "trials",
        "select__methods": ["best"],
        "search__trials__count": 2,
        "search__trials__sampler": "random",
        "search__trials__training__epochs": 1,
    }
    return tiny(**{**own, **{f"search__trials__{name}": value for name, value in changes.items()}})


def test_eight_bits_are_a_column_and_a_changed_winner_is_said(folder, monkeypatch, capsys):
    search.main(trying(int8=True), folder)
    rows = [row for row in as_rows(read_table(folder / files.TRIALS)) if row.state == "complete"]
    for row in rows:
        assert {"accuracy", "int8_accuracy", "loss", "int8_loss"} <= row.metrics.keys()
        assert row.metrics["int8_loss"] != row.metrics["loss"]  # another network, whatever its first classes are
        assert abs(row.metrics["int8_loss"] - row.metrics["loss"]) < 0.5
    assert winner_in_eight_bits(TASK, rows[:1]) is None
    assert "int8 accuracy" in report._trials(folder, TASK)
    better = [row.metrics | {"accuracy": 50.0 + i, "int8_accuracy": 50.0 - i} for i, row in enumerate(rows)]
    for row, metrics in zip(rows, better, strict=True):
        row.metrics.clear()
        row.metrics.update(metrics)
    if len(rows) > 1:
        assert "is best in floats (51; int8 49)" in str(winner_in_eight_bits(TASK, rows))


def test_eight_bits_are_an_objective_and_a_limit(folder):
    both = {"objectives": {"int8_accuracy": "maximize"}, "constraints": {"int8_accuracy": {"min": 0.0}}}
    search.main(trying(**both), folder)
    rows = as_rows(read_table(folder / files.TRIALS))
    assert any(row.objectives == {"int8_accuracy": row.metrics["int8_accuracy"]} for row in rows)
    told = json.loads((folder / "reports/search.json").read_text())
    assert "best_int8_accuracy" in told


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"int8": True, "evaluator": "proxy", "objectives": {"naswot": "maximize"}}, "no network to quantise"),
        ({"objectives": {"int8_acuracy": "maximize"}}, "no metric 'int8_acuracy'.*int8_accuracy"),
        ({"objectives": {"int8_accuracy": "maximize"}, "stopper": "median"}, "eight bits come after it: take none"),
    ],
)
def test_what_cannot_be_judged_so_is_said_before_anything_is_trained(changes, sentence):
    with pytest.raises(Refused, match=sentence):
        trying(**changes)


def test_without_its_packages_one_sentence_says_which(folder, monkeypatch):
    def missing(module, extra=None):
        raise Refused(f"needs {module}")

    monkeypatch.setattr(int8, "needed", missing)
    with pytest.raises(Refused, match="needs onnx"):
        search.main(trying(int8=True), folder)
