"""Candidate to champion: never past the gate, never a version that the metrics are not of."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml

from tests.stages.locked import git, locked_copy, write_lock
from tests.stages.tiny import tiny
from winnow.cli import main as cli
from winnow.core.errors import Refused
from winnow.run import files
from winnow.trust.gate import gate
from winnow.trust.promote import promote

RECORD = files.RUNS / "evaluate.json"
MODELS = [{"name": "model", "registered": "winnow", "version": 4, "alias": "candidate"}]


@pytest.fixture
def project(finished, tmp_path):
    folder = locked_copy(finished, tmp_path / "project")
    (folder / RECORD).write_text(json.dumps({"stage": "evaluate", "models": MODELS}))
    write_lock(folder)
    git(folder, "commit", "--quiet", "--all", "--message", "the run that is judged")
    return folder


@pytest.fixture
def asked(monkeypatch):
    """What the registry was asked for; the real one is in the slow test."""
    calls = []

    def passed_on(root, tracking, version, tags):
        calls.append((version, tags))
        return "3"

    monkeypatch.setitem(sys.modules, "winnow.tracking.registry", SimpleNamespace(promote=passed_on))
    return calls


def test_what_passes_the_gate_becomes_champion(project, asked, capsys):
    assert cli.run(["promote", "--against", "main", "--folder", str(project)]) == 0
    ((version, tags),) = asked
    assert version == "4"
    assert tags["winnow.gate.against"] == "main"
    assert "champion of winnow is version 4 (before: 3)" in capsys.readouterr().out


def test_what_fails_the_gate_stays_candidate(project, asked, capsys):
    path = project / "reports/evaluate.json"
    worse = {**json.loads(path.read_text()), "params": 10**9}
    path.write_text(json.dumps(worse))
    assert cli.run(["promote", "--against", "main", "--folder", str(project)]) == 1
    assert "not promoted" in capsys.readouterr().err
    with pytest.raises(Refused, match=r"not promoted: 1 checks .* evaluate.params"):
        promote(tiny(), project, gate(project, "main"))
    assert not asked


@pytest.mark.parametrize("how", ["changed", "new", "staged", "lock", "no lock"])
def test_what_is_not_committed_is_not_promoted(project, asked, capsys, how):
    """The version is tagged with HEAD: it must hold what was judged."""
    if how == "changed":
        (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# a word\n")
    elif how in ("new", "staged"):
        (project / "notes.txt").write_text("new")
        git(project, *(("add", "notes.txt") if how == "staged" else ("status",)))
    elif how == "lock":
        (project / "dvc.lock").write_text((project / "dvc.lock").read_text() + "\n")
    else:
        git(project, "rm", "--quiet", "--cached", "dvc.lock")
        git(project, "commit", "--quiet", "--message", "forgotten")
    assert cli.run(["promote", "--against", "main", "--folder", str(project)]) == 2
    assert "commit" in capsys.readouterr().err
    assert not asked


def test_what_the_gate_cannot_tell_is_not_promoted(project, asked, capsys):
    path = project / "reports/evaluate.json"
    told = json.loads(path.read_text())
    shifted = {"accuracies": [each + 1 for each in told["accuracies"]], "accuracy_mean": told["accuracy_mean"] + 1}
    path.write_text(json.dumps({**told, **shifted}))
    assert cli.run(["promote", "--against", "main", "--folder", str(project)]) == 1
    assert "cannot tell" in capsys.readouterr().err
    assert not asked


def test_metrics_of_another_run_promote_nothing(project, asked):
    path = project / "reports/evaluate.json"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(Refused, match=r"not the one that dvc.lock recorded"):
        promote(tiny(), project, gate(project, "main"))
    assert not asked


@pytest.mark.parametrize("record", [{"models": None}, {"models": []}, {}, [], {"models": [{"registered": "other"}]}])
def test_a_model_that_was_never_registered_is_not_promoted(project, asked, record):
    (project / RECORD).write_text(json.dumps(record))
    with pytest.raises(Refused, match="names no version of model 'winnow'"):
        promote(tiny(), project, gate(project, "main"))
    assert not asked


@pytest.mark.slow
def test_the_registry_itself(project):
    """A store on disk with two versions: only the candidate is promoted, and the version says by which gate."""
    prepare = (
        "import sys; from pathlib import Path; from mlflow import MlflowClient\n"
        "from winnow.tracking.local import create_local_store\n"
        "state = Path('.winnow'); state.mkdir(exist_ok=True); create_local_store(state.resolve())\n"
        "client = MlflowClient('sqlite:///.winnow/mlflow.db'); client.create_registered_model('winnow')\n"
        "for _ in range(4): version = client.create_model_version('winnow', 'file:///nowhere').version\n"
        "client.set_registered_model_alias('winnow', 'candidate', sys.argv[1])\n"
    )
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["tracking"]["enabled"] = True
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    run = [sys.executable, "-c", prepare]
    subprocess.run([*run, "4"], cwd=project, check=True, capture_output=True, timeout=280)
    command = [sys.executable, "-m", "winnow", "promote", "--against", "main"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "version 4 (before: none)" in done.stdout
    ask = "from mlflow import MlflowClient as C; c = C('sqlite:///.winnow/mlflow.db')\n"
    told = (
        ask + "v = c.get_model_version_by_alias('winnow', 'champion'); print(v.version, v.tags['winnow.gate.against'])"
    )
    shown = subprocess.run([sys.executable, "-c", told], cwd=project, capture_output=True, text=True, timeout=200)
    assert shown.stdout.split() == ["4", "main"], shown.stderr
    moved = ask + "c.set_registered_model_alias('winnow', 'candidate', '2')"
    subprocess.run([sys.executable, "-c", moved], cwd=project, check=True, capture_output=True, timeout=200)
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "the candidate is version 2" in done.stderr
