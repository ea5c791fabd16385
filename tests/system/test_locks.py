"""core.locks: one holder at a time, with the kernel's locks and on file systems that have none."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest

from tests.test_floors import sources
from winnow.system import locks

HOLD = """
import sys
from winnow.system import locks
file = open(sys.argv[1], "a")
print(locks.take(file), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["the kernel's", *(errno.errorcode[code] for code in locks.NO_LOCKS)])
def file_system(request, monkeypatch, tmp_path):
    """With locks, and without: then for child processes as well."""
    locks._say_once.cache_clear()
    if request.param != "the kernel's":
        code = getattr(errno, request.param)
        without = f"import fcntl\ndef none(*_): raise OSError({code}, 'no locks')\nfcntl.flock = none\n"
        (tmp_path / "sitecustomize.py").write_text(without)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

        def none(*_):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(fcntl, "flock", none)
    return request.param


def test_one_process_has_it_until_it_ends_however_it_ends(tmp_path, file_system, capfd):
    path = tmp_path / "lock"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, path], **pipes) as holder, open(path, "a") as file:
        assert holder.stdout.readline() == "True\n"
        assert locks.take(file) is False
        holder.kill()
        holder.wait()
        assert locks.take(file) is True
        assert locks.take(file) is (file_system == "the kernel's"), "a second time by the same open file"
        locks.let_go(file)
        assert locks.take(file) is True
    told = capfd.readouterr().err
    assert told.count("this file system has no file locks") == (0 if file_system == "the kernel's" else 2)  # each once


def test_another_error_is_not_taken_for_a_missing_lock(tmp_path, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", broken)
    with open(tmp_path / "lock", "a") as file, pytest.raises(OSError, match="broken"):
        locks.take(file)


def test_nobody_else_locks():
    words = ("flock", "lockf", "import fcntl")
    assert [m for m, path in sources() if any(w in path.read_text() for w in words)] == ["winnow.system.locks"]
