"""The pipeline on retrieval: from files with new classes to a verdict by recall, by a loss that learns itself."""

import json

import pytest
import torch

from tests.data.characters import write_characters
from tests.stages.tiny import run_all, tiny
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.data.storage import read_manifest
from winnow.pipelines import prepare, search
from winnow.run import files
from winnow.run.model import load_model, prepared
from winnow.tasks.retrieval import RETRIEVAL

CHANGES = {
    "task": "retrieval",
    "data__source": "parquet",
    "data__limit_train": None,
    "data__options": {"new_classes": True},
    "data__augment": {"flip": False},
    "search__strategy": "trials",
    "search__trials": {"count": 2, "objectives": {"recall_1": "maximize"}, "training": {"epochs": 1}},
    "select__methods": ["best"],
    "tune__trials": 0,
    "retrain__seeds": [0],
    "retrain__optimiser": "adamw",
    "retrain__lr": 0.01,
    "retrain__loss": {"nir": "exp"},
    "evaluate__controls": 1,
}

SPOS = {"search__strategy": "spos", "select__methods": ["evolution"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    return run_all(tiny(**CHANGES, data__path=str(write_characters(folder / "drawn"))), folder)


def told(folder):
    return json.loads((folder / "reports/evaluate.json").read_text())


def test_whole_classes_are_held_apart(run):
    manifest = read_manifest(run / files.SPLITS)
    assert manifest["left_out"] == {"test row of a class that training has": 12}
    seen = [
        set(open_split(run / files.SPLITS, name, RETRIEVAL, stage="evaluate").answers.tolist())
        for name in ("weights", "arch", "select", "test")
    ]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 13
    assert seen[3] == {9, 10, 11, 12}


def test_it_is_judged_by_recall_and_told_with_the_rest(run):
    found = told(run)
    assert (found["metric"], found["goal"], found["control_n"]) == ("recall_1", "maximize", 1)
    assert found["recall_1"] == found["score_mean"] > found["recall_1_by_chance"]
    assert found["recall_1"] <= found["recall_2"] <= found["recall_8"]
    assert 0 <= found["nmi"] <= 1
    assert found["outcome"] == "cannot tell"
    rows = (run / "reports/errors/neighbours.csv").read_text().splitlines()
    assert rows[0] == "query,rank,row,class,right,cosine,png"
    assert len(rows) == 1 + 8 * 7
    page = (run / "reports/report.html").read_text()
    assert "test recall 1 (n = 1)" in page
    assert "recall_1" not in page.split("<h2>Lineage")[0]  # words, no keys
    for name in ("recall at 2", "recall at 8", "mAP@R", "NMI of clusters", "recall at 1 by chance"):
        assert f"</b>{name}</div>" in page
    assert "1x12x12, 13 classes, embeddings of 64 numbers" in page
    assert page.count("<image") >= 56


def test_the_delivered_network_finds_what_was_found(run):
    model, about = load_model(run / files.MODEL)
    test = open_split(run / files.SPLITS, "test", RETRIEVAL, stage="evaluate")
    with torch.no_grad():
        found = RETRIEVAL.measure([model(prepared(test.columns["image"], about))], [test.answers])
    assert found["recall_1"] == pytest.approx(told(run)["scores"][0])


@pytest.mark.slow
def test_it_is_exported_and_checked_by_its_own_measure(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra winnow[onnx]")
    from winnow.trust.export import export

    found = export(run / files.MODEL, run, tmp_path)
    sides = found["measured"]["recall_1"]
    assert found["agreeing"] == 1  # the nearest of each
    assert sides["onnx"] == sides["pytorch"] == pytest.approx(told(run)["scores"][0])


def test_a_supernet_and_test_files_of_known_classes_are_sentences(run, tmp_path):
    with pytest.raises(Refused, match="which a supernet does not train: search with strategy trials"):
        search.main(tiny(**CHANGES | SPOS, data__path=str(run / "drawn")), run)
    with pytest.raises(Refused, match="the label 9 is no class of the training data"):
        prepare.main(tiny(**CHANGES | {"data__options": {}}, data__path=str(run / "drawn")), tmp_path)
