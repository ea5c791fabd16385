"""The chain from a file back to its data, and that it claims no more than digests vouch for."""

import json
import shutil

import pytest
import yaml

from tests.stages.locked import committed, git, locked_copy
from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.run import files
from winnow.trust.why import FILE, HERE, OTHER, UNKNOWN, why


@pytest.fixture(scope="module")
def project(finished, tmp_path_factory):
    return locked_copy(finished, tmp_path_factory.mktemp("locked"))


def chain(path, folder=None):
    return {step.name: step for step in why(path, folder)}


def test_every_link_of_a_model_in_its_project(project):
    found = chain(project / files.MODEL)
    vouched = {name: step.vouched for name, step in found.items() if name not in ("MLflow runs", "code")}
    assert vouched == {
        "file": HERE,
        "architecture": FILE,
        "selection": HERE,
        "search": HERE,
        "data": HERE,
        "inputs": FILE,
        "parameters": FILE,
        "environment": FILE,
    }
    manifest = json.loads((project / "data/splits/manifest.json").read_text())
    assert found["data"].facts["digest"] == manifest["source_digest"]
    assert found["file"].facts["recorded by commit"] == git(project, "rev-parse", "HEAD").strip()
    assert "30 rows of perturbation, 6 kept" in found["selection"].facts["evidence"]
    assert found["search"].facts["space"] == "nas_bench_201"
    assert found["inputs"].facts == {"outside": "nothing but winnow's own"}
    assert found["parameters"].facts["search, by dvc.lock"]["epochs"] == 2
    assert set(found["code"].facts) >= {"src/winnow/core", "pipelines/retrain.py", "present commit"}


def test_code_that_the_lock_does_not_name_is_not_told_to_differ(finished, tmp_path):
    """As in a project of `winnow init`, which depends on the winnow that is installed."""
    folder = locked_copy(finished, tmp_path / "project")
    lock = yaml.safe_load((folder / "dvc.lock").read_text())
    for stage in lock["stages"].values():
        stage["deps"] = [dep for dep in stage["deps"] if not dep["path"].startswith(("src", "pipelines"))]
    (folder / "dvc.lock").write_text(yaml.safe_dump(lock))
    code = chain(folder / files.MODEL)["code"]
    assert code.vouched == FILE
    assert "differs from dvc.lock" not in code.facts


def test_a_model_alone_still_says_what_it_was_trained_on(project, tmp_path):
    shutil.copy(project / files.MODEL, tmp_path / "given.safetensors")
    found = chain(tmp_path / "given.safetensors")
    assert found["data"].vouched == found["environment"].vouched == found["parameters"].vouched == FILE
    assert found["selection"].vouched == found["search"].vouched == found["MLflow runs"].vouched == UNKNOWN
    assert found["data"].facts["source"] == "digits"
    assert "torch" in found["environment"].facts


def test_another_projects_evidence_is_not_claimed(project, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(project, other)
    content = json.loads((other / files.SELECTIONS).read_text())
    content["methods"][content["chosen"]]["digest"] = "0" * 12
    (other / files.SELECTIONS).write_text(json.dumps(content))
    found = chain(project / files.MODEL, other)
    assert found["selection"].vouched == OTHER


def test_an_architecture_has_the_same_chain_and_an_altered_one_none(project, tmp_path):
    found = chain(project / files.ARCHITECTURE)
    assert found["file"].vouched == found["selection"].vouched == found["search"].vouched == HERE
    content = json.loads((project / files.ARCHITECTURE).read_text())
    content["choices"]["1<-0"] = "none"
    (tmp_path / "architecture.json").write_text(json.dumps(content))
    with pytest.raises(Refused, match="was altered"):
        why(tmp_path / "architecture.json")


def test_runs_of_mlflow_are_told_where_the_lock_has_their_record(finished, tmp_path):
    folder = tmp_path / "tracked"
    shutil.copytree(finished, folder)
    record = {"stage": "retrain", "run_id": "abc", "parent_run_id": "def", "models": None}
    (folder / files.RUNS / "retrain-0.json").write_text(json.dumps(record))
    committed(folder)
    assert chain(folder / files.MODEL)["MLflow runs"].facts == {
        "retrain-0": {"stage": "retrain", "run_id": "abc", "parent_run_id": "def"}
    }
    (folder / files.RUNS / "retrain-0.json").write_text(json.dumps({**record, "run_id": "xyz"}))
    assert chain(folder / files.MODEL)["MLflow runs"].facts == {}


def test_the_command_prints_the_chain(project, capsys):
    assert cli.run(["why", str(project / files.MODEL)]) == 0
    printed = capsys.readouterr().out
    assert "data  (digests agree)" in printed
    assert cli.run(["why", str(project / files.MODEL), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "file"
    assert cli.run(["why", str(project / "params.yaml")]) == 2
    assert cli.run(["why", str(project / "nothing.onnx")]) == 2
