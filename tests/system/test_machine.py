"""core.machine: what a process may use, of affinity, quota and OMP_NUM_THREADS; and nobody counts otherwise."""

import math
import os

import pytest

from tests.test_floors import sources
from winnow.system import machine

COUNTS = ("cpu_count", "sched_getaffinity", "process_cpu_count")


def test_nobody_else_counts_cores():
    facts = {"winnow.tracking.facts", "winnow.tools.measuring"}  # these write down what the machine has
    counting = {module for module, path in sources() if any(word in path.read_text() for word in COUNTS)}
    assert counting == {"winnow.system.machine", *facts}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_affinity_and_omp_num_threads_are_obeyed(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "quota", lambda: math.inf)
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert (machine.usable_cores(), machine.threads()) == (1, 1)
        monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
        assert (machine.usable_cores(), machine.threads()) == (1, 3)
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("said", ["", "0", "many"])
def test_an_omp_num_threads_that_is_no_number_counts_for_nothing(monkeypatch, said):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert machine.threads() == machine.usable_cores()


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/", {"cpu.max": "150000 100000\n"}, 1.5),  # version 2, as a container sees it
        ("0::/a/b", {"a/cpu.max": "100000 100000\n", "a/b/cpu.max": "max 100000\n"}, 1.0),  # the least of all levels
        ("0::/", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/elsewhere", {}, math.inf),
        ("4:memory:/x\n3:cpu,cpuacct:/x", {"cpu,cpuacct/x/cpu.cfs_quota_us": "200000\n"}, 2.0),  # version 1
        ("3:cpu,cpuacct:/x", {"cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}, math.inf),
    ],
)
def test_the_quota_of_control_groups(tmp_path, own, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).with_name("cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "own").write_text(f"{own}\n")
    assert machine.quota(tmp_path, tmp_path / "own") == cores


def test_without_control_groups_there_is_no_quota(tmp_path, monkeypatch):
    assert machine.quota(tmp_path, tmp_path / "none") == math.inf
    monkeypatch.setattr(machine, "quota", lambda: 0.2)
    assert machine.usable_cores() == 1


def test_memory_left_is_the_machines_or_its_groups_whatever_is_less(tmp_path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:  9000 kB\nMemAvailable:  4000 kB\n")
    assert machine.memory_left(told, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert machine.memory_left(told, tmp_path) == 4000 * 1024
    (tmp_path / "memory.max").write_text("3000\n")
    assert machine.memory_left(told, tmp_path) == 2000
    assert machine.memory_left(tmp_path / "none", tmp_path) == math.inf
