"""run.processes: a stage that trains in several processes, and what becomes of it when one of them is killed."""

import csv
import resource
import shutil
import subprocess

import pytest

from tests.stages.tiny import tiny
from winnow.config.reading import check_params
from winnow.core.errors import Refused
from winnow.pipelines import retrain, search
from winnow.run import files, processes
from winnow.run.progress import Shown
from winnow.system import machine

TWO = {"runtime__processes": 2, "runtime__checkpoint_seconds": 0.001}


@pytest.fixture(autouse=True)
def _cores(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)


@pytest.fixture
def started(monkeypatch):
    """The further processes, as they are started."""
    every, start = [], subprocess.Popen

    def popen(*arguments, **options):
        every.append(start(*arguments, **options))
        return every[-1]

    monkeypatch.setattr(processes.subprocess, "Popen", popen)
    return every


def content(folder):
    return {path.name: path.read_bytes() for path in (folder / files.SEARCH).iterdir()}


def test_one_that_is_killed_ends_the_stage_with_a_sentence_and_the_same_command_goes_on(
    folder, started, monkeypatch, tmp_path, capsys
):
    whole = tmp_path / "whole"
    shutil.copytree(folder, whole)
    params = tiny(search__strategy="spos", select__methods=["evolution"], **TWO)
    search.main(params, whole)
    assert [each.poll() is not None for each in started] == [True]

    epoch = Shown.epoch

    def killing(self, number, *arguments):
        if number == 0:
            started[-1].kill()
        return epoch(self, number, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Shown, "epoch", killing)
        with pytest.raises(Refused) as refused:
            search.main(params, folder)
    assert "process 1 ended with SIGKILL" in str(refused.value)
    assert "goes on from the last checkpoint" in str(refused.value)
    search.main(params, folder)
    assert "going on with search" in capsys.readouterr().out
    assert content(folder) == content(whole)


def losses(folder):
    return [row["loss"] for row in csv.DictReader((folder / files.REPORTS / "retrain/0.csv").read_text().splitlines())]


def test_retraining_is_by_two_as_well(finished, tmp_path, started):
    for name in ("data", "artifacts"):
        shutil.copytree(finished / name, tmp_path / name)
    retrain.main(tiny(**TWO), tmp_path, 0)
    assert len(started) == 1
    both, alone = (list(map(float, losses(folder))) for folder in (tmp_path, finished))
    assert both != alone  # BatchNorm sees half the images
    assert both == pytest.approx(alone, rel=0.2)


def test_what_cannot_be_is_a_sentence(folder):
    with pytest.raises(Refused, match="processes is 3, and here are 2 cores"):
        search.main(tiny(runtime__processes=3), folder)
    with pytest.raises(
        Refused, match=r"runtime.processes: of what several processes can train together \(darts, .*'cream' is none"
    ):
        tiny(runtime__processes=2, search__strategy="cream", select__methods=["evolution"])
    with pytest.raises(Refused, match="federation has workers of its own"):
        tiny(runtime__processes=2, tune__trials=0, **{"retrain__federation": {"clients": 2}})
    with pytest.raises(Refused, match="order: second looks ahead from one process"):
        tiny(runtime__processes=2, **{"search__darts": {"order": "second"}})
    with pytest.raises(Refused, match="2 processes cannot share a batch of 33 evenly"):
        search.main(tiny(search__batch=33, **TWO), folder)


def test_trials_search_in_one_and_retrain_in_several():
    assert check_params(tiny(runtime__processes=2, search__strategy="trials", select__methods=["best"]).model_dump())


def test_one_without_memory_ends_the_stage_with_a_sentence(folder, started, monkeypatch):
    """Less than its libraries take. What trains and needs more is ended by the system, as above."""
    popen = processes.subprocess.Popen

    def starved(*arguments, **options):
        other = popen(*arguments, **options)
        resource.prlimit(other.pid, resource.RLIMIT_AS, (300 << 20,) * 2)
        return other

    monkeypatch.setattr(processes.subprocess, "Popen", starved)
    with pytest.raises(Refused, match=r"process 1 ended with status 1 \(\w+: .*\); what was finished is kept"):
        search.main(tiny(search__strategy="spos", select__methods=["evolution"], **TWO), folder)
