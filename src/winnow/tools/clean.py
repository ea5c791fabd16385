"""What work has left in .winnow to go on with: checkpoints, compared networks, studies, cells of `winnow study`,
milliseconds of children, decoded splits.

Nothing in it is a result. Without it, work that was stopped begins anew, and a study of trials cannot be extended.
"""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from winnow.system import locks

STUDY = re.compile(r"(.+-[0-9a-f]{12}(?:-\d+)?)(?:\.done|\.log.*)?")  # of trials: journal, lock, networks, mark


@dataclass(frozen=True)
class Left:
    """One piece of it; `busy` where a process works in it now."""

    kind: str  # checkpoints, compared, trials, study, latency or decoded: the folder in .winnow
    name: str
    paths: tuple[Path, ...]
    size: int  # bytes
    age: float  # seconds since the last change
    busy: bool


def left(state: Path) -> list[Left]:
    """All of it below `state`, a `.winnow` folder; by kind and name."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for kind in ("checkpoints", "compared", "trials", "study", "latency", "decoded"):
        for path in sorted((state / kind).iterdir()) if (state / kind).is_dir() else ():
            named = STUDY.fullmatch(path.name) if kind == "trials" else None
            groups.setdefault((kind, named[1] if named else path.name), []).append(path)
    return [_left(kind, name, tuple(paths)) for (kind, name), paths in sorted(groups.items())]


def remove(piece: Left) -> None:
    for path in piece.paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _left(kind: str, name: str, paths: tuple[Path, ...]) -> Left:
    every = [path for root in paths for path in (root, *root.rglob("*")) if not path.is_symlink()]
    changed = max(path.stat().st_mtime for path in every)
    size = sum(path.stat().st_size for path in every if path.is_file())
    locks = [path for path in every if path.name == "lock" or path.suffix == ".driver"]
    return Left(kind, name, paths, size, time.time() - changed, any(map(_held, locks)))


def _held(lock: Path) -> bool:
    with lock.open("r+b" if os.access(lock, os.W_OK) else "rb") as handle:
        free = locks.take(handle)
        if free:
            locks.let_go(handle)
    return not free
