"""docs/fifteen-minutes.md, walked: its pictures, its network, its parameters and its commands, with few epochs."""

import shlex
import sys
from pathlib import Path

import yaml

from tests.stages.test_docs import FENCE, _laid_over
from tests.stages.tiny import ROOT
from winnow.cli.main import run
from winnow.tools import plan as planning

PAGE = (ROOT / "docs/fifteen-minutes.md").read_text()
SHORT = {
    "data": {"limit_train": 80, "limit_test": 40, "image_size": 12},
    "search": {"epochs": 1, "batch": 16},
    "select": {"evolution": {"population": 3, "generations": 1}},
    "retrain": {"seeds": [0], "epochs": 1},
    "evaluate": {"controls": 1, "latency_repeats": 6, "latency_seconds": 0.0},
    "tracking": {"enabled": False},
}


def _lines(said):
    """Commands of winnow in the order of the page, without comments."""
    return [shlex.split(line, comments=True)[1:] for line in said.splitlines() if line.startswith("winnow ")]


def test_the_tutorial_is_walked(tmp_path, monkeypatch, capsys):
    python = [block[3] for block in FENCE.finditer(PAGE) if block[2] == "python"]
    said = "\n".join(block[3] for block in FENCE.finditer(PAGE) if block[2] == "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(planning, "SAMPLE", 3)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not (Path(place) / "my_net.py").exists()])
    monkeypatch.delitem(sys.modules, "my_net", raising=False)
    init, *before, why, verify, export = _lines(said)
    assert init[:1] == ["init"]
    assert run(["init"]) == 0
    exec(compile(python[0], "photos", "exec"), {})
    (tmp_path / "my_net.py").write_text(python[1])
    content = yaml.safe_load((tmp_path / "params.yaml").read_text())
    for changes in (yaml.safe_load(next(b[3] for b in FENCE.finditer(PAGE) if b[2] == "yaml")), SHORT):
        content = _laid_over(content, changes)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
    for command in before:
        assert run(command) == 0, (command, capsys.readouterr().err)
    for stage in ("inputs", "search", "select", "tune", "retrain --seed 0", "evaluate"):  # what `dvc repro` runs
        assert run(stage.split()) == 0, (stage, capsys.readouterr().err)
    told = capsys.readouterr().out
    assert "within 1 point" in told
    assert (tmp_path / "reports" / "report.html").is_file()
    assert run(why) == 0
    assert run(export) == 0, capsys.readouterr().err
    assert verify == ["verify", "select"]
