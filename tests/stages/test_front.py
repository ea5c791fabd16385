"""A menu: for each entry of select.front the architecture that a run with those limits alone would choose."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import torch

from tests.stages.tiny import tiny
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.pipelines import evaluate, retrain, search, tune
from winnow.pipelines import select as selecting
from winnow.run import files, tested
from winnow.run.model import load_model
from winnow.search.bench import Bench
from winnow.tasks.classify import IMAGES

FRONT = [{"max_macs": "60%"}, {"max_params": "50%", "max_macs": "40%"}]


def spos(**changes):
    return tiny(search__strategy="spos", **{"select__methods": ["evolution"], **changes})


@pytest.fixture(scope="module")
def searched(prepared, tmp_path_factory):
    folder = shutil.copytree(prepared, tmp_path_factory.mktemp("front") / "work")
    search.main(spos(), folder)
    return folder


def selected(folder, monkeypatch, **changes):
    """How many children were judged, and the rows of the front."""
    judged = []
    score = Bench.score
    monkeypatch.setattr(Bench, "score", lambda bench, arch: judged.append(arch.digest) or score(bench, arch))
    selecting.main(spos(**changes), folder)
    monkeypatch.setattr(Bench, "score", score)
    return judged, json.loads((folder / files.FRONT).read_text())


def test_an_entry_is_what_a_run_with_its_limits_chooses(searched, monkeypatch, capsys):
    _, none = selected(searched, monkeypatch)
    assert none == []
    alone, judged = [], []
    for entry in FRONT:
        limits = {f"select__{name}": value for name, value in entry.items()}
        judged += selected(searched, monkeypatch, **limits)[0]
        alone.append(json.loads((searched / files.ARCHITECTURE).read_text())["digest"])
    base = selected(searched, monkeypatch)[0]
    chosen = (searched / files.ARCHITECTURE).read_bytes()
    capsys.readouterr()

    together, rows = selected(searched, monkeypatch, select__front=FRONT)
    assert [row["digest"] for row in rows] == alone
    assert (searched / files.ARCHITECTURE).read_bytes() == chosen
    assert len(together) < len(judged) + len(base)  # what was judged for one entry is known to the others
    for row, entry in zip(rows, FRONT, strict=True):
        assert row["limits"] == entry
        assert row["macs"] <= row["bounds"]["max_macs"]
        assert "at most" in row["within"]
    said = " ".join(capsys.readouterr().out.split())
    assert f"max_macs 60% {alone[0]} inherited accuracy" in said
    methods = pq.read_table(searched / files.EVIDENCE).column("method").to_pylist()
    assert set(methods) == {"evolution", "evolution, max_macs 60%", "evolution, max_params 50%, max_macs 40%"}
    chosen = json.loads((searched / files.SELECTIONS).read_text())["methods"]
    assert set(chosen) == {"evolution"}


def test_the_smallest_is_said_before_anything_is_trained(folder):
    with pytest.raises(
        Refused, match=r"select.front.1 \(max_params 10\): none can: the smallest architecture .* has [\d,]+ params"
    ):
        search.main(spos(select__front=[{"max_macs": "60%"}, {"max_params": 10}]), folder)
    assert not (folder / files.SEARCH).exists()


@pytest.mark.parametrize(
    ("front", "said"),
    [
        ([{"max_macs": "60%"}, {"max_macs": "60%"}], "select: front.1: is the same as front.0: leave one"),
        ([{"max_mcas": "60%"}], r"front.0: takes limits, max_params, .*not 'max_mcas' \(did you mean 'max_macs'\?\)"),
        ([{"max_macs": "160%"}], "front.0.max_macs: takes a whole number of 1 or more, or a share .* not '160%'"),
        ([{"max_macs": None}], "front.0: takes at least one limit"),
        (["50%"], "select.front.0"),
    ],
)
def test_a_wrong_menu_is_refused_by_the_number_of_its_entry(front, said):
    with pytest.raises(Refused, match=said):
        spos(select__front=front)


def test_a_selection_that_keeps_no_limits_has_no_menu():
    with pytest.raises(Refused, match=r"select.front: 'magnitude' decides one question after the other"):
        tiny(select__methods=["magnitude"], select__front=FRONT)


def test_each_entry_is_trained_tested_and_delivered(searched, monkeypatch, capsys):
    """As the found network is, over all seeds; the network of the first is a file of its own."""
    changes = {"tune__trials": 0, "retrain__epochs": 1, "evaluate__controls": 0, "retrain__from": "inherited"}
    params = spos(select__front=FRONT, **changes)
    monkeypatch.setattr(evaluate, "write_report", lambda *given: given[-1].write_text("<html>"))
    selecting.main(params, searched)
    tune.main(params, searched)
    for seed in params.retrain.seeds:
        retrain.main(params, searched, seed)
    capsys.readouterr()
    evaluate.main(params, searched)
    rows = json.loads((searched / "reports/evaluate.json").read_text())["front"]
    chosen = json.loads((searched / files.FRONT).read_text())
    assert [row["architecture"] for row in rows] == [row["digest"] for row in chosen]
    assert [row["limits"] for row in rows] == FRONT
    test = open_split(searched / files.SPLITS, "test", IMAGES, stage="evaluate")
    for row, entry in zip(rows, chosen, strict=True):
        assert (row["params"], row["macs"], row["n"]) == (entry["params"], entry["macs"], 2)
        assert row["latency_ms"] > 0
        model, about = load_model(searched / files.menu(row["architecture"]))
        assert about["from"] == "what the search trained"
        assert about["provenance"]["environment"]["device"].endswith("1 threads")
        with torch.no_grad():
            score = tested.score(IMAGES, tested.outputs(model, test, 64), test)
        assert score == pytest.approx(row["scores"][0])
    assert f"artifacts/front/{rows[0]['architecture']}.safetensors" in "".join(capsys.readouterr().out.split())
    evaluate.main(spos(**changes), searched)
    assert list((searched / files.MENU).iterdir()) == []
    with pytest.raises(Refused, match=r"front.json does not fit params.yaml \(it is of another select.front\)"):
        evaluate.main(spos(select__front=FRONT[:1], **changes), searched)
