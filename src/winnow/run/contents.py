"""The digest of a file's or a folder's content: of names and bytes, whatever its place, times and owner.

A folder may be large. So a list of its files with size, times and inode is kept in `.winnow/inputs/`, and bytes are
read only where these changed: a copy has the same digest, and an untouched folder costs one look at each file's entry.
"""

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

JUNK = frozenset((".DS_Store", "Thumbs.db", "desktop.ini", "__pycache__", ".ipynb_checkpoints", ".git"))
FRESH = 2_000_000_000  # nanoseconds: a file changed just now may change again without its times telling

Entry = tuple[str, str, str]  # name below the folder, path, stamp: what the file system says without reading


def digest_of(path: Path, state: Path, without: str | None = None) -> str:
    """sha256 of a file, or of a folder's names and contents; links are followed, `JUNK` and dead links left out.

    Names that end in `without` are left out too. `state` is the project's `.winnow`. OSError where something is missing
    or cannot be read.
    """
    if not path.is_dir():
        return _of_file(str(path))
    entries = sorted(each for each in _walk(str(path), "", ()) if without is None or not each[0].endswith(without))
    stamp = hashlib.sha256("\n".join(f"{name}\0{told}" for name, _, told in entries).encode(*_ANY)).hexdigest()
    place = hashlib.sha256(f"{path.resolve()} {without}".encode(*_ANY)).hexdigest()[:16]
    kept = state / "inputs" / f"{place}.list"
    with contextlib.suppress(OSError, ValueError), kept.open(encoding=_ANY[0], errors=_ANY[1], newline="\n") as lines:
        before = next(lines, "").split()
        if before and before[0] == stamp:
            return before[1]
        return _renewed(entries, stamp, kept, dict(_read(lines)))
    return _renewed(entries, stamp, kept, {})


_ANY = ("utf-8", "surrogateescape")  # a name on Linux is bytes, and may be no text


def _renewed(entries: list[Entry], stamp: str, kept: Path, known: dict[str, str]) -> str:
    """The digest, reading those files whose name with stamp is not `known`; what was read is kept."""
    whole, lines, quiet = hashlib.sha256(), [], time.time_ns() - FRESH
    for name, path, told in entries:
        key = f"{told} {name.encode(*_ANY).hex()}"
        digest = known.get(key) or _of_file(path)
        whole.update(f"{name}\0{digest}\n".encode(*_ANY))
        if max(map(int, told.split(".")[1:3])) < quiet:
            lines.append(f"{digest} {key}\n")
    head = stamp if len(lines) == len(entries) else "-"
    with contextlib.suppress(OSError):  # a state folder that cannot be written costs time, and no more
        kept.parent.mkdir(parents=True, exist_ok=True)
        passing = kept.with_name(f".{kept.name}.{os.getpid()}")
        passing.write_text("".join([f"{head} {whole.hexdigest()}\n", *lines]), encoding=_ANY[0], errors=_ANY[1])
        passing.replace(kept)
    return whole.hexdigest()


def _read(lines: Iterator[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        digest, _, key = line.rstrip("\n").partition(" ")
        if len(digest) == 64:
            yield key, digest


def _walk(folder: str, below: str, above: tuple[tuple[int, int], ...]) -> Iterator[Entry]:
    """All files; a folder that is reached from within itself, through a link, is not entered again."""
    about = os.stat(folder)
    me = about.st_dev, about.st_ino
    if me in above:
        return
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name in JUNK:
                continue
            try:
                told = entry.stat()
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):  # a link to nothing or to itself, or gone since
                    continue
                raise
            if stat.S_ISDIR(told.st_mode):
                yield from _walk(entry.path, f"{below}{entry.name}/", (*above, me))
            elif stat.S_ISREG(told.st_mode):
                stamp = f"{told.st_size}.{told.st_mtime_ns}.{told.st_ctime_ns}.{told.st_dev}.{told.st_ino}"
                yield f"{below}{entry.name}", entry.path, stamp


def _of_file(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
