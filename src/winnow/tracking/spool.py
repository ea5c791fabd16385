"""The folder in which one run waits to be shipped: events, copies of files, and how far the shipper got.

<state>/runs/search-20260102-030405-1f2e/
    events.jsonl   one event a line; the stage holds a lock on it for as long as it lives, however it ends
    files/         what the stage gave as artifacts, as it was at that moment
    shipped.json   written by the shipper: run ids and the number of bytes of events.jsonl that are in the store
    shipping.lock  held by whoever ships the folder
"""

import contextlib
import errno
import json
import os
import secrets
import shutil
import time
from pathlib import Path
from typing import Any, BinaryIO

from winnow.system import locks


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


class Spool:
    """The stage's end: a folder that appears with its lock already held."""

    def __init__(self, state: Path, stage: str):
        name = f"{stage}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        hidden, self.folder = state / "runs" / f".{name}", state / "runs" / name
        (hidden / "files").mkdir(parents=True)
        self._log = open(hidden / "events.jsonl", "ab", buffering=0)  # noqa: SIM115 - held for the life of the run
        locks.take(self._log, shared=True)
        os.rename(hidden, self.folder)
        self._files = 0

    def write(self, kind: str, **content: Any) -> None:
        """One event, handed to the operating system at once (a killed stage loses nothing) but not forced to disk."""
        event = {"kind": kind, "time": int(time.time() * 1000), **content}
        line = json.dumps(event, default=float).encode() + b"\n"
        if self._log.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))

    def keep(self, path: Path) -> str:
        """A copy of a file as it is now; returns its place within the spool folder."""
        self._files += 1
        place = Path("files") / str(self._files) / path.name
        (self.folder / place).parent.mkdir()
        shutil.copyfile(path, self.folder / place)
        return str(place)

    def shipped(self) -> dict[str, Any]:
        return shipped(self.folder)

    def close(self) -> None:
        locks.let_go(self._log, self.folder / "events.jsonl")
        self._log.close()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()


class Reader:
    """The shipper's end: events from where the last shipper stopped."""

    def __init__(self, folder: Path):
        """BlockingIOError where somebody ships this folder already, FileNotFoundError where it has just gone."""
        self.folder = folder
        self._log: BinaryIO = open(folder / "events.jsonl", "r+b")  # noqa: SIM115 - held as long as it is shipped
        self._lock = open(folder / "shipping.lock", "w")  # noqa: SIM115 - likewise
        self._ours = locks.take(self._lock)
        if not self._ours:
            self.close()
            raise BlockingIOError(f"{folder} is being shipped")

    def stage_lives(self) -> bool:
        """Whether the stage still holds its lock: true across containers too, where process numbers mean nothing."""
        if not locks.take(self._log):
            return True
        locks.let_go(self._log)
        return False

    def start(self) -> dict[str, Any]:
        """The first event, whatever has been shipped."""
        self._log.seek(0)
        return json.loads(self._log.readline() or b"{}")

    def since(self, offset: int) -> list[tuple[int, dict[str, Any]]]:
        """Events after `offset`, each with the offset of its end; a line still being written is left for later."""
        self._log.seek(offset)
        events = []
        for line in self._log:
            if not line.endswith(b"\n"):
                break
            offset += len(line)
            with contextlib.suppress(ValueError):  # a line that a full disk has torn
                events.append((offset, json.loads(line)))
        return events

    def last_sign(self) -> int:
        """When the stage wrote last, in milliseconds."""
        return int(os.fstat(self._log.fileno()).st_mtime * 1000)

    def close(self) -> None:
        self._log.close()
        if self._ours:
            locks.let_go(self._lock)
        self._lock.close()


def state_of(folder: Path) -> Path:
    """The state folder that holds a spool folder now; the project may have moved since."""
    return folder.resolve().parent.parent


def shipped(folder: Path) -> dict[str, Any]:
    path = folder / "shipped.json"
    return (
        json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"offset": 0, "problems": [], "models": []}
    )
