"""A task that is no classification, whose first metric is better the lower it is, through the whole pipeline."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from tests.stages.tiny import run_all, tiny
from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.verdict import Alike, verdict
from winnow.tasks.classify import IMAGES
from winnow.tasks.task import Metric

ERROR = Metric("minimize", low=0.0)
TWENTY = [30.0 + 0.1 * i for i in range(20)]
PLANTED = {
    "task": "tests.tasks.planted:BRIGHTNESS",
    "data__source": "tests.tasks.planted:squares",
    "search__strategy": "spos",
    "select__methods": ["evolution"],
    "retrain__seeds": [0],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_all(tiny(**PLANTED), tmp_path_factory.mktemp("planted"))


def read(path):
    return json.loads(path.read_text())


def test_the_lowest_error_is_chosen(finished):
    children = pq.read_table(finished / files.EVIDENCE).to_pylist()
    kept = {row["option"] for row in children if row["kept"]}
    best = max(children, key=lambda row: row["accuracy"])  # the score, turned so that more is better
    assert best["accuracy"] < 0
    assert best["option"] in kept
    chosen = read(finished / files.SELECTIONS)["methods"]["evolution"]
    assert chosen["inherited_accuracy"] == pytest.approx(-best["accuracy"], rel=1e-6)
    tune = read(finished / "reports/tune.json")
    assert tune["error"] <= tune["error_as_it_stands"]


def test_the_result_is_told_in_the_tasks_own_metric(finished):
    result = read(finished / "reports/evaluate.json")
    assert (result["metric"], result["goal"], result["n"]) == ("error", "minimize", 1)
    assert result["score_mean"] == result["scores"][0] > 0
    assert not {"accuracy_mean", "ece", "per_class", "right"} & set(result)
    assert not list((finished / "reports/errors").iterdir())
    page = (finished / "reports/report.html").read_text()
    assert "test error (n = 1)" in page
    assert ">inherited error</text>" in page
    assert "accuracy, percent" not in page
    retrained = (finished / "reports/retrain/0.csv").read_text().splitlines()[0]
    assert retrained == "epoch,loss,error,lr"


def test_it_is_handed_over_by_the_task_that_the_project_names(finished, tmp_path, capsys):
    """Nothing is decided of a row by a brightness, so nothing flips."""
    model = str(finished / files.MODEL)
    assert cli.run(["export", model, "--folder", str(finished), "--out", str(tmp_path), "--to", "pt2"]) == 0
    (_, row) = read(tmp_path / "export.json")["targets"]
    assert row["flips"] is None
    assert row["measured"]["error"] == pytest.approx(read(finished / "reports/evaluate.json")["scores"][0], rel=1e-4)
    assert cli.run(["measure", model, "--seconds", "0"]) == 2
    assert "name it as `task` (--task) if you trust it" in capsys.readouterr().err
    assert cli.run(["measure", model, "--seconds", "0", "--task", PLANTED["task"]]) == 0


def test_data_of_another_task_are_refused(finished):
    with pytest.raises(Refused, match=r"prepared for task 'tests.tasks.planted:BRIGHTNESS', .* run `winnow prepare`"):
        open_split(finished / files.SPLITS, "weights", IMAGES, stage="search")


def test_less_error_is_a_yes_and_more_is_none():
    better = Alike([20.0, 20.5, 21.0], [], TWENTY, None, ERROR)
    said = verdict(better, 1, "")
    assert (said["outcome"], said["pairs_won"]) == ("yes", 20)
    assert said["difference"] < 0
    assert said["difference_ci_low"] < said["difference"] < said["difference_ci_high"] < 0
    assert "a yes took less than -0.95" in said["verdict"]
    worse = verdict(replace(better, found=[40.0, 40.5, 41.0]), 1, "")
    assert (worse["outcome"], worse["pairs_won"]) == ("no", 0)
    assert worse["difference"] > 0


def test_the_same_numbers_the_other_way_round_say_the_same():
    """Turned by hand: errors as their negatives, more is better."""
    turned = Metric("maximize", high=0.0)
    for found in ([20.0], [29.9], [31.0], [40.0]):
        lower = verdict(Alike(found * 3, [], TWENTY, None, ERROR), 1, "")
        higher = verdict(Alike([-v for v in found * 3], [], [-v for v in TWENTY], None, turned), 1, "")
        assert (lower["outcome"], lower["p_value"]) == (higher["outcome"], higher["p_value"])
        assert lower["difference"] == pytest.approx(-higher["difference"])
        assert lower["detectable_gap"] == pytest.approx(-higher["detectable_gap"])
