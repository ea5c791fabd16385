"""The stages end to end: what they write, what they refuse, and that the same parameters give the same bytes."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from tests.stages.tiny import ROOT, run_all, tiny
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.pipelines import evaluate, prepare, retrain, search
from winnow.pipelines import select as selecting
from winnow.run import files
from winnow.run.model import load_model
from winnow.run.work import final_space, search_space
from winnow.tasks.classify import IMAGES
from winnow.trust.same import LATENCY


def read(folder: Path, name: str):
    return json.loads((folder / name).read_text())


def timeless(folder: Path) -> dict:
    return {name: value for name, value in read(folder, "reports/evaluate.json").items() if name not in LATENCY}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_named_output_is_there_and_says_what_it_must(finished):
    found = read(finished, "reports/evaluate.json")
    named = {"accuracy_mean", "accuracy_sd", "n", "params", "macs", "latency_ms", "control_accuracy_mean", "verdict"}
    assert named <= set(found)
    assert found["n"] == 2
    assert found["control_n"] == 2
    assert found["accuracy_mean"] == pytest.approx(sum(found["accuracies"]) / 2)
    assert found["difference"] == pytest.approx(found["accuracy_mean"] - found["control_accuracy_mean"])
    assert (finished / "reports/report.html").stat().st_size > 1000
    assert (finished / "artifacts/model.safetensors").read_bytes() == (finished / files.retrained(0)).read_bytes()


def test_the_first_method_decides_and_the_table_tells_where_others_differ(finished):
    selections = read(finished, "artifacts/selections.json")
    assert selections["chosen"] == "perturbation"
    chosen = selections["methods"]["perturbation"]["choices"]
    assert read(finished, "artifacts/architecture.json")["choices"] == chosen
    for row in selections["disagreements"]:
        answers = [selections["methods"][m]["choices"][row["decision"]] for m in selections["methods"]]
        assert row["agree"] == (len(set(answers)) == 1)


def test_evidence_holds_every_mask_and_every_child_evaluated(finished):
    rows = pq.read_table(finished / "artifacts/evidence.parquet").to_pylist()
    masks = [row for row in rows if row["method"] == "perturbation"]
    assert len(masks) == 6 * 5
    for decision in {row["decision"] for row in masks}:
        of_one = [row for row in masks if row["decision"] == decision]
        kept = [row for row in of_one if row["kept"]]
        assert len(kept) == 1
        assert kept[0]["accuracy"] == min(row["accuracy"] for row in of_one)
    children = [row for row in rows if row["method"] == "evolution"]
    assert len({row["option"] for row in children}) == len(children) == 8
    assert max(row["accuracy"] for row in children) == next(row["accuracy"] for row in children if row["kept"])


def test_the_saved_model_scores_on_test_what_the_report_says(finished):
    model, about = load_model(finished / "artifacts/model.safetensors")
    test = open_split(finished / files.SPLITS, "test", IMAGES, stage="evaluate")
    mean, std = (torch.tensor(about[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        predicted = model((test.columns["image"].float() / 255 - mean) / std).argmax(1)
    accuracy = 100 * float((predicted == test.answers).double().mean())
    assert accuracy == pytest.approx(read(finished, "reports/evaluate.json")["accuracies"][0], abs=1e-6)


def test_equal_parameters_give_equal_bytes(finished, tmp_path):
    params = tiny(select__methods=["perturbation", "magnitude", "evolution"])
    again = run_all(params, tmp_path)
    compared = 0
    for path in sorted(finished.rglob("*")):
        name = path.relative_to(finished)
        if (
            path.is_dir()
            or name.suffix == ".html"
            or name.parts[:2] == ("artifacts", "runs")
            or name.parts[0] == ".winnow"
        ):
            continue
        if name == Path("reports/evaluate.json"):  # the measured numbers are times
            assert timeless(finished) == timeless(again)
        elif name == files.TUNE_TRIALS:
            first, second = (pq.read_table(each / name).drop_columns("seconds") for each in (finished, again))
            assert first.equals(second)
        else:
            assert digest(path) == digest(again / name), name
        compared += 1
    assert compared > 15


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        pytest.param(
            "darts",
            {"space__darts__channels": 4, "space__darts__layers": 3, "search__darts__order": "second"},
            marks=pytest.mark.slow,
        ),
        ("mobile", {"space__mobile__width": 0.1, "search__strategy": "spos", "select__methods": ["evolution"]}),
    ],
)
def test_other_spaces_and_strategies_go_through(tmp_path, name, changes):
    extra = {"space__name": name, "search__epochs": 1, "data__limit_train": 240, "retrain__seeds": [3]}
    extra |= {"retrain__epochs": 1, "evaluate__controls": 0, "select__perturbation__tune_epochs": 0}
    if name == "darts":
        extra |= {"retrain__auxiliary": 0.4, "retrain__drop_path": 0.2, "retrain__cutout": 2, "retrain__ema": 0.9}
        extra |= {"retrain__space": {"layers": 4, "channels": 6}, "space__darts__candidates": "s3"}
    folder = run_all(tiny(**{**extra, **changes}), tmp_path)
    found = read(folder, "reports/evaluate.json")
    assert found["n"] == 1
    assert found["helped"] is None
    assert "controls" in found["verdict"]


def test_a_space_of_the_users_own_by_dotted_path(tmp_path, monkeypatch):
    (tmp_path / "their_space.py").write_text(
        "from torch import nn\n"
        "from winnow.core.holes import Choice\n"
        "from winnow.core.space import Space\n"
        "def build(classes, image_channels, width=4):\n"
        "    convs = {k: nn.Conv2d(image_channels, width, k, padding=k // 2) for k in (1, 3)}\n"
        "    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]\n"
        "    return Space(nn.Sequential(Choice('kernel', convs), nn.ReLU(), *head))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    theirs = {"space__name": "their_space:build", "space__options": {"width": 6}}
    params = tiny(**theirs, retrain__seeds=[0], evaluate__controls=0)
    folder = run_all(params, tmp_path)
    assert set(read(folder, "artifacts/architecture.json")["choices"]) == {"kernel"}


def test_a_wrong_or_missing_file_is_one_sentence(finished, tmp_path):
    params = tiny()
    with pytest.raises(Refused, match=r"manifest.*prepare"):
        search.main(params, tmp_path)
    prepare.main(params, tmp_path)
    with pytest.raises(Refused, match=r"no .*supernet.safetensors: run `winnow search`"):
        selecting.main(params, tmp_path)
    with pytest.raises(Refused, match=r"no .*architecture.json: run `winnow select`"):
        retrain.main(params, tmp_path, 0)
    (tmp_path / files.SEARCH).mkdir(parents=True, exist_ok=True)
    whole = (finished / files.SUPERNET).read_bytes()
    for cut in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / files.SUPERNET).write_bytes(whole[:cut])
        with pytest.raises(Refused, match="damaged"):
            selecting.main(params, tmp_path)
    (tmp_path / files.SUPERNET).write_bytes(whole)
    for name in (files.LOGITS, files.LIVE):
        (tmp_path / name).write_bytes((finished / name).read_bytes())
    with pytest.raises(Refused, match="weights of another network"):
        selecting.main(tiny(space__nas_bench_201__channels=8), tmp_path)
    logits = read(finished, str(files.LOGITS))
    assert set(logits["moments"]) == set(logits["logits"])
    for moments, sentence in ((None, "lacks the state of the logits' optimiser"), ({"1<-0": {}}, "does not fit")):
        told = {k: v for k, v in logits.items() if k != "moments"} | ({} if moments is None else {"moments": moments})
        (tmp_path / files.LOGITS).write_text(json.dumps(told))
        with pytest.raises(Refused, match=sentence):
            selecting.main(tiny(select__methods=["perturbation"]), tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.update(format="winnow.architecture/0"), "not in format"),
        (lambda c: c.update(space="darts"), "is of space 'darts'"),
        (lambda c: c["choices"].update({"3<-1": "conv_7x7"}), "takes one of"),
        (lambda c: c["choices"].pop("3<-1"), "leaves decision '3<-1' open"),
        (lambda c: c["choices"].update({"4<-1": "none"}), "another space"),
        (lambda c: c["choices"].update({"3<-1": None}), "takes text, an integer"),
        (lambda c: c.pop("choices"), "choices"),
        (lambda c: c.update(digest="0" * 12), "was altered"),
        (lambda c: c.clear(), "not in format"),
    ],
)
def test_a_foreign_old_or_altered_architecture_is_refused(finished, tmp_path, change, sentence):
    content = read(finished, "artifacts/architecture.json")
    change(content)
    (tmp_path / "architecture.json").write_text(json.dumps(content))
    params = tiny()
    with pytest.raises(Refused, match=sentence):
        files.read_architecture(tmp_path / "architecture.json", final_space(params, finished), "nas_bench_201")


def test_the_architecture_of_the_search_fits_the_retrained_form(finished):
    params = tiny()
    assert search_space(params, finished, "cpu").digest == final_space(params, finished).digest


def test_a_model_of_another_architecture_is_not_evaluated(finished, tmp_path):
    params = tiny()
    for name in ("data", "artifacts"):
        os.symlink(finished / name, tmp_path / name)
    (tmp_path / "artifacts").unlink()
    (tmp_path / "artifacts/retrain/0").mkdir(parents=True)
    (tmp_path / files.retrained(0)).write_bytes((finished / files.retrained(0)).read_bytes())
    content = read(finished, "artifacts/architecture.json")
    space = final_space(params, finished)
    other = space.decide(lambda d: "avg_pool_3x3")
    assert content["digest"] != other.digest
    files.write_architecture(tmp_path / files.ARCHITECTURE, other, space, "nas_bench_201")
    with pytest.raises(Refused, match=r"is of architecture .* run `winnow retrain --seed 0` again"):
        evaluate.main(params, tmp_path)


def test_a_loss_that_explodes_stops_with_step_rate_and_advice(finished, tmp_path):
    os.symlink(finished / "data", tmp_path / "data")
    with pytest.raises(Refused, match=r"loss is (nan|inf) at epoch 0, step \d+, with learning rate 1e\+30.*search.lr"):
        search.main(tiny(search__lr=1e30, search__clip=1e30), tmp_path)
    assert not (tmp_path / files.SUPERNET).exists()


def test_ctrl_c_ends_with_a_sentence_and_leaves_no_half_file(finished, tmp_path):
    """A real SIGINT to a real process, in the middle of a search that would take long."""
    import signal
    import time

    os.symlink(finished / "data", tmp_path / "data")
    params = tiny(search__epochs=500, search__strategy="spos", select__methods=["evolution"])
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    command = [sys.executable, str(ROOT / "pipelines/search.py"), "--folder", str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / "reports/trials.csv").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)  # until the stage has begun: imports take their time on a busy machine
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130, error
    assert "stopped" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.safetensors*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always out of space")
def test_a_full_disk_is_one_sentence_and_the_old_file_stays(tmp_path, monkeypatch):
    target = tmp_path / "kept.json"
    files.write_json(target, {"old": True})

    def full(self, text, **_):
        with open("/dev/full", "w") as device:
            device.write(text)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(target, {"new": "x" * 100_000})
    monkeypatch.undo()
    assert json.loads(target.read_text()) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]
