"""The pipeline on boxes: from Parquet to a verdict by AP, and what is handed over."""

import json

import pytest
import torch

from tests.data.squares import KINDS, scenes, write_parquet
from tests.stages.tiny import run_all, tiny
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.model import load_model, prepared
from winnow.tasks.detection import DETECTION

pytest.importorskip("faster_coco_eval", reason="needs the extra winnow[detection]")

CHANGES = {
    "task": "detection",
    "data__source": "boxes_parquet",
    "data__limit_train": None,
    "space": {"name": "detector", "detector": {
        "backbone": "macro", "options": {"width": 0.125}, "strides": [2, 4], "width": 16,
    }},
    "search__strategy": "spos",
    "search__epochs": 1,
    "search__batch": 16,
    "search__optimiser": "adamw",
    "search__lr": 0.005,
    "select__methods": ["evolution"],
    "tune__trials": 0,
    "retrain__seeds": [0],
    "retrain__optimiser": "adamw",
    "retrain__lr": 0.01,
    "retrain__epochs": 8,
    "retrain__batch": 16,
    "evaluate__controls": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def boxed(tmp_path_factory):
    """Every stage, on squares and discs."""
    folder = tmp_path_factory.mktemp("boxes")
    path = write_parquet(folder / "scenes.parquet", *scenes(160), categories=json.dumps(KINDS))
    return run_all(tiny(**CHANGES, data__path=str(path)), folder)


def told(folder):
    return json.loads((folder / "reports/evaluate.json").read_text())


def test_it_is_judged_by_ap_beside_the_trivial_detector(boxed):
    found = told(boxed)
    assert (found["metric"], found["goal"], found["control_n"]) == ("ap", "maximize", 1)
    assert found["classes"] == KINDS
    assert found["score_mean"] > found["floor"]["ap"]
    assert found["ap50"] > found["score_mean"]
    page = (boxed / "reports/report.html").read_text()
    assert "test ap (n = 1)" in page
    assert ">inherited ap, percent</text>" in page
    assert f"<b>{found['floor']['ap']:.2f} %</b>ap of boxes that look at no image</div>" in page
    assert "2 categories (square, disc), up to 3 boxes an image" in page


def test_the_delivered_network_takes_pixels_as_they_are_stored(boxed):
    model, about = load_model(boxed / files.MODEL)
    test = open_split(boxed / files.SPLITS, "test", DETECTION, stage="evaluate")
    with torch.no_grad():
        found = DETECTION.measure([model(prepared(test.columns["image"], about))], [test.answers])
    assert found["ap"] == pytest.approx(told(boxed)["scores"][0], abs=1e-4)


@pytest.mark.slow
def test_it_is_exported_and_checked_by_its_own_measure(boxed, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra winnow[onnx]")
    from winnow.trust.export import export

    found = export(boxed / files.MODEL, boxed, tmp_path)
    sides = found["measured"]["ap"]
    assert (
        sides["onnx"] == pytest.approx(sides["pytorch"], abs=1e-2) == pytest.approx(told(boxed)["scores"][0], abs=1e-2)
    )
