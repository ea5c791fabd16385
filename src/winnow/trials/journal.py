"""The journal file of a study: Optuna's format, one JSON line an operation, opened by optuna-dashboard as it is."""

import contextlib
import json
import os
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from winnow.core.errors import Refused
from winnow.system import locks

SYNC_SECONDS = 1.0  # how much a power cut may take; a killed process loses nothing, the kernel has its lines


class Journal(JournalFileBackend):
    """Optuna's file backend but for one thing: it waits for the disk at most once a second, not at every line."""

    def __init__(self, path: Path):
        self._path, self._file_lock, self._synced = path, JournalFileOpenLock(str(path)), 0.0
        super().__init__(str(path), lock_obj=self._file_lock)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with self._refusals():
            self._file_lock.acquire()
            try:
                with open(self._path, "r+b", buffering=0) as file:  # a journal that is gone is not made anew
                    _write_whole(file, lines.encode())
                    if time.monotonic() - self._synced > SYNC_SECONDS:
                        os.fsync(file.fileno())
                        self._synced = time.monotonic()
            finally:
                with contextlib.suppress(RuntimeError):  # its lock was removed as well
                    self._file_lock.release()

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        with self._refusals():
            yield from super().read_logs(log_number_from)

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise Refused(
                f"{self._path} was removed while its study ran, and the trials in it with it: the same command begins "
                "them anew"
            ) from error
        except OSError as error:
            raise Refused(
                f"{self._path} cannot be written ({error.strerror}): make room; the same command goes on from there"
            ) from error


def _write_whole(file: Any, content: bytes) -> None:
    """All of `content` at the end of `file`, or nothing: where the disk fills up half-way, that half is taken back."""
    before, rest = file.seek(0, os.SEEK_END), memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(before)
        raise


def mend(path: Path) -> int:
    """Cut what a killed writer left behind the last whole line; bytes cut.

    Refused where a line further up is broken: that is no torn end, and cutting there would lose trials.
    """
    if not path.exists():
        return 0
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line)
        except ValueError as error:
            if number == len(lines) and whole == len(content):  # as after a power cut: a line of zeros
                whole -= len(line) + 1
                break
            raise Refused(f"{path} is damaged at line {number}: restore it, or remove it to start anew") from error
    if whole < len(content):
        with open(path, "r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())
    return len(content) - whole


def drop_stale_lock(path: Path, patience: float = 1.0) -> None:
    """Remove Optuna's lock on the journal where a killed writer left it; call as the only driver of the study."""
    lock = Path(f"{path}.lock")
    deadline = time.monotonic() + patience
    while lock.exists():
        if time.monotonic() > deadline:
            lock.unlink(missing_ok=True)
        time.sleep(0.01)


@contextlib.contextmanager
def only_driver(path: Path, what: str) -> Iterator[None]:
    """Hold `path` while the block runs; Refused, with its process id, where another driver does.

    The kernel lets go of the lock however the holder ends.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+")  # noqa: SIM115  (closed below; what the block raises is not this)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
    with file:
        if not locks.take(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise Refused(f"{what} is driven by process {holder}: wait for it or end it, then try again")
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same; what needs room says so
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        try:
            yield
        finally:
            locks.let_go(file)
