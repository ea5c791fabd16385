"""core.whole: a file is there whole or not at all, and the umask decides who may read it."""

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from tests.test_floors import sources
from winnow.system.whole import atomic


@pytest.mark.parametrize("umask", [0o077, 0o002, 0o022, 0o027])
def test_the_umask_is_obeyed(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic(tmp_path / "new" / "file") as temporary:
            temporary.write_text("text")
    finally:
        os.umask(before)
    path = tmp_path / "new" / "file"
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert list(path.parent.iterdir()) == [path]


def test_what_fails_leaves_nothing_and_is_told_by_the_name_that_was_asked_for(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(OSError, match="No space") as found, atomic(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # without a name, as Arrow has it
    assert found.value.filename == str(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_goes_away_by_name_alone(tmp_path):
    left, other = tmp_path / ".[x]*.json.12345678", tmp_path / ".x.json.12345678"
    left.touch()
    other.touch()
    with atomic(tmp_path / "[x]*.json") as temporary:
        temporary.touch()
    assert not left.exists()
    assert other.exists()


def test_a_library_that_puts_a_private_file_there_changes_nothing(tmp_path):
    with atomic(tmp_path / "file") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_nobody_else_decides_who_may_read_a_file():
    words = ("chmod", "mkstemp", "NamedTemporaryFile")  # the latter make files that only their owner reads
    found = [module for module, path in sources() if any(word in path.read_text() for word in words)]
    assert found == ["winnow.system.whole"]


def test_where_all_is_read_only_the_file_asked_for_is_named(tmp_path, monkeypatch):
    def shut(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(os, "open", shut)
    monkeypatch.setattr(type(tmp_path), "unlink", shut)
    with pytest.raises(OSError, match="Read-only") as caught, atomic(tmp_path / "out.csv"):
        pass
    assert caught.value.filename == str(tmp_path / "out.csv")


def test_a_pipe_is_written_to_and_stays_one(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with atomic(pipe) as temporary:
        temporary.write_text("text")
    reader.join(10)
    assert read == ["text"]
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_the_null_device_stays_one():
    if not os.access(os.devnull, os.W_OK):
        pytest.skip("none here")
    with atomic(Path(os.devnull)) as temporary:
        temporary.write_text("text")
    assert Path(os.devnull).is_char_device()
