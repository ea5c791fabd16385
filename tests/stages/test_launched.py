"""Stages that torchrun started: the bytes of runtime.processes, and sentences for what goes wrong."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from tests.stages.tiny import tiny
from winnow.cli import main as cli
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.pipelines import search
from winnow.run import files, processes
from winnow.run.progress import Shown
from winnow.system import machine
from winnow.system.launched import Launch
from winnow.train import ranks

CHANGES = {"search__strategy": "spos", "select__methods": ["evolution"], "runtime__checkpoint_seconds": 0.001}
FIRST = Launch(0, 2, 0, 2)


@pytest.fixture
def project(folder, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    write(folder)
    return folder


def write(folder: Path, **changes: object) -> None:
    params = tiny(**CHANGES, **changes)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json", by_alias=True)))


@pytest.fixture
def port(monkeypatch):
    """A free one, under the variables that a launcher sets for the first of two processes: this one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number = str(taken.getsockname()[1])
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": number}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ranks._launchers.cache_clear()
    monkeypatch.setattr(ranks, "_meetings", iter(range(9)))
    yield number
    ranks._launchers.cache_clear()


@pytest.fixture
def second(port):
    """Starts the second process in a folder; all end with the test."""
    every = []

    def start(folder: Path, stage: str = "search") -> subprocess.Popen:
        # As many cores as the test says there are
        code = (
            "import sys; from winnow.system import machine; machine.usable_cores = lambda: 2;"
            f"from winnow.cli.main import main; main(['{stage}'])"
        )
        environment = {**os.environ, "RANK": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        every.append(subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, **pipes))
        return every[-1]

    yield start
    for each in every:
        each.kill()
        each.communicate()


def content(folder):
    return {path.name: path.read_bytes() for path in (folder / files.SEARCH).iterdir()}


def both() -> Params:
    return processes.launched(tiny(**CHANGES), FIRST)


@pytest.mark.slow
def test_one_that_is_killed_ends_the_stage_and_it_goes_on_to_the_bytes_of_runtime_processes(
    project, second, monkeypatch, tmp_path, capsys
):
    whole = tmp_path / "whole"
    shutil.copytree(project, whole)
    search.main(tiny(**CHANGES, runtime__processes=2), whole)

    other, epoch = second(project), Shown.epoch

    def killing(self, number, *arguments):
        if number == 0:
            other.kill()
        return epoch(self, number, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Shown, "epoch", killing)
        with pytest.raises(Refused, match=r"another of the 2 processes .* goes on from the last checkpoint"):
            search.main(both(), project, FIRST)
    ranks._launchers.cache_clear()
    monkeypatch.setattr(ranks, "_meetings", iter(range(9)))
    again = second(project)
    search.main(both(), project, FIRST)
    assert again.wait(60) == 0
    assert "going on with search" in capsys.readouterr().out
    assert content(project) == content(whole)


def test_processes_that_disagree_are_refused_before_anything_is_trained(project, second, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(project, elsewhere)
    write(elsewhere, search__lr=0.2)
    other, sentence = second(elsewhere), "process 1 has other params.yaml than process 0"
    with pytest.raises(Refused, match=sentence):
        search.main(both(), project, FIRST)
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 2
    assert sentence in said
    assert "Traceback" not in said
    assert not (project / files.SUPERNET).exists()


def test_a_port_that_is_taken(project, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        with pytest.raises(
            Refused, match=f"cannot meet at MASTER_ADDR 127.0.0.1, MASTER_PORT {port}: the port is taken"
        ):
            search.main(both(), project, FIRST)


def test_more_processes_than_cores_and_a_number_that_contradicts(project, monkeypatch, port):
    monkeypatch.setattr(machine, "usable_cores", lambda: 1)
    with pytest.raises(Refused, match=r"runtime.processes is 2, and here are 1 cores"):
        search.main(both(), project, FIRST)
    with pytest.raises(Refused, match=r"runtime.processes is 3, and 2 processes were started: leave it out"):
        processes.launched(tiny(**CHANGES, runtime__processes=3), FIRST)
    with pytest.raises(Refused, match=r"several processes can train together .*'cream' is none"):
        processes.launched(tiny(search__strategy="cream", select__methods=["evolution"]), FIRST)


def test_no_nccl(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_backend_available", lambda name: name != "nccl")
    with (
        pytest.raises(Refused, match="this torch has no nccl, by which processes on cuda talk"),
        ranks.joined(ranks.at_the_launchers, 0, 2, torch.device("cuda")),
    ):
        raise AssertionError


def test_other_stages_run_in_the_first_alone(project, port, monkeypatch):
    ran = []
    monkeypatch.setattr("winnow.pipelines.prepare.main", lambda params, folder: ran.append(params.runtime.processes))
    for which in "01":
        monkeypatch.setenv("RANK", which)
        assert cli.run(["prepare", "--folder", str(project)]) == 0
    assert ran == [2]


def test_the_file_that_torchrun_reads_says_what_is_printed(project, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    assert cli.run(["search", "--folder", str(tmp_path / "nowhere")]) == 2
    said = json.loads((tmp_path / "error.json").read_text())
    assert said["message"] == capsys.readouterr().err.strip()
    assert said["message"].startswith("winnow: ")


def test_threads_are_those_that_the_launcher_leaves(monkeypatch):
    params = tiny(runtime__threads=None, runtime__processes=2, **CHANGES)
    monkeypatch.setattr(machine, "usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [processes.threads(params), processes.threads(params, FIRST)] == [4, 4]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert [processes.threads(params), processes.threads(params, FIRST)] == [1, 2]


@pytest.mark.slow
def test_torchrun(project, tmp_path):
    if machine.quota() < 2 or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes take two cores")
    whole = tmp_path / "whole"
    shutil.copytree(project, whole)
    search.main(tiny(**CHANGES, runtime__processes=2), whole)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "winnow", "search"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert content(project) == content(whole)


@pytest.mark.slow
def test_torchruns_summary_ends_with_our_sentence(project):
    path = project / "params.yaml"
    path.write_text(path.read_text() + "\nserch: {}\n")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "winnow", "search"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert re.search(r"winnow: params\.yaml: .*serch", done.stderr[done.stderr.index("Root Cause") :])
