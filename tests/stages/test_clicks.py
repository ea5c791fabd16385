"""The pipeline on clicks: from a table to a verdict by AUC, and what is handed over."""

import json
import re

import pytest
import torch

from tests.data.visits import write_visits
from tests.stages.tiny import run_all, tiny
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.model import load_model, prepared
from winnow.tasks.clicks import CLICKS

CHANGES = {
    "task": "clicks",
    "data__source": "table_parquet",
    "data__options": {"leave_out": ["at"]},
    "data__limit_train": None,
    "space": {"name": "interactions", "interactions": {
        "embedding": [2, 4], "widths": [8], "depths": [1], "layers": [1], "hidden": [8], "pairs": [["user", "item"]],
    }},
    "search__strategy": "spos",
    "search__epochs": 1,
    "search__optimiser": "adamw",
    "search__lr": 0.01,
    "select__methods": ["evolution"],
    "tune__trials": 0,
    "retrain__seeds": [0],
    "retrain__optimiser": "adamw",
    "retrain__lr": 0.01,
    "retrain__epochs": 4,
    "evaluate__controls": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def clicked(tmp_path_factory):
    """Every stage, on visits of twelve users to twelve items."""
    folder = tmp_path_factory.mktemp("clicks")
    return run_all(tiny(**CHANGES, data__path=str(write_visits(folder / "visits.parquet"))), folder)


def told(folder):
    return json.loads((folder / "reports/evaluate.json").read_text())


def test_it_is_judged_by_auc_and_told_with_its_log_loss(clicked):
    found = told(clicked)
    assert (found["metric"], found["goal"], found["control_n"]) == ("auc", "maximize", 1)
    assert 0.6 < found["score_mean"] < 1
    assert found["log_loss"] < 0.69
    assert found["normalised_entropy"] < 1
    assert found["outcome"] == "cannot tell"
    rows = (clicked / "reports/errors/calibration.csv").read_text().splitlines()
    assert rows[0] == "chance_low,chance_high,count,chance,clicked"
    assert sum(int(row.split(",")[2]) for row in rows[1:]) == found["test_images"]
    page = (clicked / "reports/report.html").read_text()
    assert "test auc (n = 1)" in page
    assert f"<b>{told(clicked)['log_loss']:.2f} nats</b>log loss</div>" in page
    assert "4 fields (user 12, item 12, hour 24, weekend 2) and 1 numbers" in page


def test_the_delivered_network_takes_cells_as_they_are_stored(clicked):
    model, about = load_model(clicked / files.MODEL)
    test = open_split(clicked / files.SPLITS, "test", CLICKS, stage="evaluate")
    with torch.no_grad():
        found = CLICKS.measure([model(prepared(test.columns["cells"], about))], [test.answers])
    assert found["auc"] == pytest.approx(told(clicked)["scores"][0], abs=1e-9)


@pytest.mark.slow
def test_it_is_exported_and_checked_by_its_own_measure(clicked, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra winnow[onnx]")
    from winnow.trust.export import export

    found = export(clicked / files.MODEL, clicked, tmp_path)
    sides = found["measured"]["auc"]
    assert sides["onnx"] == pytest.approx(sides["pytorch"], abs=1e-6) == pytest.approx(told(clicked)["scores"][0])
    assert found["agreeing"] == 1


def test_a_proxy_that_needs_images_is_a_sentence(clicked):
    from winnow.pipelines import search, select

    params = tiny(**CHANGES | {
        "search__strategy": "training_free", "search__training_free": {"proxies": ["naswot"]},
    }, data__path=str(clicked / "visits.parquet"))  # fmt: skip
    search.main(params, clicked)
    with pytest.raises(Refused, match=re.escape("proxy 'naswot' needs images (channels, height, width), and the inp")):
        select.main(params, clicked)
