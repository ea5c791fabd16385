"""Where and as whom stages run: folders of any name, terminals and pipes that end, places that cannot be written."""

import errno
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from tests.stages.tiny import tiny
from winnow.cli.main import run
from winnow.core.errors import Refused
from winnow.pipelines import prepare, retrain, search, select, tune
from winnow.run import files
from winnow.run.work import working
from winnow.system.streams import Loose

NAMES = ["a b 'ü' #y@2&z?b=c [x]*{y} 50%20 $HOME~\n;", "-lead:", "sqlite:"]


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_may_have_any_name(finished, tmp_path, monkeypatch, name, capfd):
    """By `--folder` from above, where the name is a word of the command line, and from within."""
    above = tmp_path / "above"
    above.mkdir()
    shutil.copytree(finished, above / name)
    (above / name / "params.yaml").write_text(yaml.safe_dump(tiny(evaluate__controls=0).model_dump()))
    monkeypatch.chdir(above)
    for command in (["prepare"], ["retrain", "--seed", "1"], ["clean"]):
        assert run([*command, "--folder", name]) == 0, capfd.readouterr().err
    monkeypatch.chdir(name)
    for command in (["retrain", "--seed", "0"], ["evaluate"], ["why", str(files.MODEL)], ["clean", "--yes"]):
        assert run(command) == 0, capfd.readouterr().err
    assert os.listdir(above) == [name]


def test_work_goes_on_when_nobody_reads_what_it_prints(finished, tmp_path, monkeypatch):
    shutil.copytree(finished, tmp_path / "work")
    (tmp_path / "work" / files.ARCHITECTURE).unlink()
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", Loose(nobody))
        assert run(["select", "--folder", str(tmp_path / "work")]) == 0
    assert (tmp_path / "work" / files.ARCHITECTURE).is_file()


def test_every_file_of_a_stage_obeys_the_umask(prepared, tmp_path):
    """Models, tables, JSON, pictures, and what is kept to go on with."""
    work, params = tmp_path / "work", tiny(search__epochs=1, retrain__seeds=[0], trials__executor="inline")
    before = os.umask(0o027)
    try:
        for stage in (prepare.main, search.main, select.main, tune.main):
            stage(params, work)
        retrain.main(params, work, 0)
    finally:
        os.umask(before)
    found = [path for path in work.rglob("*") if path.is_file()]
    assert {path.suffix for path in found} >= {".safetensors", ".parquet", ".json", ".csv", ".svg"}
    assert {str(path): oct(path.stat().st_mode & 0o777) for path in found if path.stat().st_mode & 0o777 != 0o640} == {}


def _fails(code, *attributes):
    def failing(*_, **__):
        raise OSError(code, os.strerror(code), *attributes)

    return failing


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.EROFS, r"logits\.json cannot be used .Read-only file system.: make it readable and writable"),
        (errno.EACCES, r"logits\.json cannot be used .Permission denied.: make it readable and writable"),
        (errno.ENOSPC, r"the disk is full writing .*logits\.json: free some space"),
        (errno.EDQUOT, r"the disk is full writing .*logits\.json: free some space"),
        (errno.EIO, r"logits\.json cannot be used .Input/output error.: mend that"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_sentence_with_its_name(finished, tmp_path, monkeypatch, code, sentence):
    def write():
        with working("search", tiny(), finished):
            monkeypatch.setattr(Path, "replace", _fails(code))
            files.write_json(tmp_path / "logits.json", {})

    with pytest.raises(Refused, match=sentence):
        write()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_tensors_that_cannot_be_written_are_a_sentence_too(finished, tmp_path, monkeypatch, code):
    """The library that writes them has errors of its own, with the number in their text."""

    def failing(*_):
        raise files.SafetensorError(f"Error while serializing: I/O error: {os.strerror(code)} (os error {code})")

    monkeypatch.setattr(files, "save_file", failing)
    with pytest.raises(Refused, match=r"model\.safetensors"), working("search", tiny(), finished):
        files.write_tensors(tmp_path / "model.safetensors", {}, {})


def test_a_command_beside_the_pipeline_says_it_as_well(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "open", _fails(errno.EROFS, "space.svg"))
    assert run(["space", "draw", "nas_bench_201"]) == 2
    assert "space.svg cannot be used (Read-only file system)" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["prepare", "clean", "ui"])
def test_a_folder_that_is_gone_below_ones_feet_is_a_sentence(tmp_path, monkeypatch, capsys, command):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert run([command]) == 2
    assert "winnow: the present folder is gone" in capsys.readouterr().err
