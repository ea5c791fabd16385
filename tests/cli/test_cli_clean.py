"""winnow clean: what it lists, what it removes and what it leaves."""

import os
import time

from winnow.cli import main as cli
from winnow.run.checkpoint import hold


def test_lists_without_touching_and_removes_what_nobody_works_in(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    state = tmp_path / ".winnow"
    for name in ("checkpoints/search-0123456789ab", "checkpoints/select-0123456789ab", "study/select-0123456789ab"):
        (state / name).mkdir(parents=True)
        (state / name / "000001.safetensors").write_bytes(b"x" * 2**20)
    (state / "trials/tune-0123456789ab-1/models").mkdir(parents=True)
    for name in ("tune-0123456789ab-1.log", "tune-0123456789ab-1.log.driver", "tune-0123456789ab.done"):
        (state / "trials" / name).write_text("{}")
    (state / "mlflow.db").write_text("runs")
    with hold(state / "checkpoints/select-0123456789ab"):
        assert cli.run(["clean", "--folder", str(tmp_path)]) == 0
        shown = capsys.readouterr().out
        assert [line.split()[:2] for line in shown.splitlines()[:5]] == [
            ["checkpoints", "search-0123456789ab"],
            ["checkpoints", "select-0123456789ab"],
            ["study", "select-0123456789ab"],
            ["trials", "tune-0123456789ab"],
            ["trials", "tune-0123456789ab-1"],
        ]
        assert "in use" in shown.splitlines()[1]
        assert "4 could be removed, 2.0 MiB: winnow clean --yes" in shown
        assert (state / "checkpoints/search-0123456789ab").is_dir()
        assert cli.run(["clean", "--yes", "--folder", str(tmp_path)]) == 0
    assert "removed 4, 2.0 MiB" in capsys.readouterr().out
    left = sorted(str(path.relative_to(state)) for path in state.rglob("*") if path.is_file())
    assert left == [
        "checkpoints/select-0123456789ab/000001.safetensors",
        "checkpoints/select-0123456789ab/lock",
        "mlflow.db",
    ]


def test_nothing_left_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert cli.run(["clean", "--folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing is left to remove\n"


def test_a_folder_that_is_not_there_is_not_called_empty(tmp_path, capsys):
    assert cli.run(["clean", "--folder", str(tmp_path / "nowhere")]) == 2
    assert "nowhere' does not exist" in capsys.readouterr().err


def test_a_clock_that_was_set_back_is_said(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    piece = tmp_path / ".winnow/checkpoints/search-0123456789ab"
    piece.mkdir(parents=True)
    os.utime(piece, times=(time.time() + 9e6,) * 2)
    assert cli.run(["clean", "--folder", str(tmp_path)]) == 0
    assert "in the future" in capsys.readouterr().out
