"""What lies in a folder: the images by what they are, not by their endings, and the rest, counted."""

import contextlib
import functools
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from winnow.data.sources.pixels import FORMATS

Parts = tuple[str, ...]  # a path below the root
LEFT_BY_SYSTEMS = {"__MACOSX", "@eaDir", "lost+found"}
HIDDEN, SPECIAL, LOOP, BROKEN = "hidden", "no regular file", "link to a folder read already", "broken link"


@dataclass
class Walk:
    """Paths below a root, in the order of their parts; `left` are those that are no images, each with the reason.

    `broken` are those that might be images and cannot be read, with the reason.
    """

    images: list[Parts] = field(default_factory=list)
    folders: list[Parts] = field(default_factory=list)
    left: list[tuple[Parts, str]] = field(default_factory=list)
    broken: list[tuple[Parts, str]] = field(default_factory=list)


def walk_images(root: Path) -> Walk:
    """All of `root`. Names that begin with a dot and those that systems leave behind are hidden."""
    found = Walk()
    for parts, kind in walk(root, found):
        path = root.joinpath(*parts)
        if kind is None:
            found.folders.append(parts)
        elif kind == BROKEN:
            known = path.suffix == "" or path.suffix.lower() in endings()
            why = BROKEN if path.is_symlink() else "unreadable"
            (found.broken if known else found.left).append((parts, why))
        elif path.suffix.lower() in endings() or (kind := _other(path)) == "":
            found.images.append(parts)
        else:
            found.left.append((parts, kind))
    for listed in (found.images, found.folders, found.left, found.broken):
        listed.sort()
    return found


def walk(root: Path, found: Walk) -> Iterator[tuple[Parts, str | None]]:
    """Every file below `root` with "" or BROKEN, every folder with None; what nobody reads goes to `found.left`.

    Links are followed. Within one folder of the second level each real folder is entered once, and none from below
    itself, so links that go round in a circle, or fan out, come to an end. Nothing but regular files is ever opened.
    """
    waiting: list[tuple[Parts, frozenset]] = [((), frozenset([_identity(os.stat(root))]))]
    entered: set = set()
    while waiting:
        parts, above = waiting.pop()
        try:
            names = sorted(os.listdir(root.joinpath(*parts)))
        except OSError as error:
            found.broken.append((parts, os.strerror(error.errno or 0)))
            continue
        for name in names:
            here = (*parts, name)
            if name[0] == "." or name in LEFT_BY_SYSTEMS:
                found.left.append((here, HIDDEN))
                continue
            try:
                about = os.stat(root.joinpath(*here))
            except OSError:
                yield here, BROKEN
                continue
            if stat.S_ISREG(about.st_mode):
                yield here, ""
            elif not stat.S_ISDIR(about.st_mode):
                found.left.append((here, SPECIAL))
            elif (me := _identity(about)) in above or (here[:2], me) in entered:
                found.left.append((here, LOOP))
            else:
                entered.add((here[:2], me))
                waiting.append((here, above | {me}))
                yield here, None


@functools.cache
def endings() -> frozenset[str]:
    """The endings of the formats that are read."""
    return frozenset(
        ending for ending, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")
    )  # a JPEG may be an MPO


def shown(path: str | Path) -> str:
    """A path as one line of text that any file can take: bytes that are no UTF-8, and what moves a cursor, escaped."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def text_of(name: str) -> str:
    """A file's name as proper text: bytes that are no UTF-8 are taken for Latin-1."""
    data = os.fsencode(name)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _other(path: Path) -> str:
    """ "" if the file is an image whatever its ending says; else how it is counted."""
    with contextlib.suppress(Exception), Image.open(path, formats=FORMATS):  # reads the header alone
        return ""
    return shown(path.suffix.lower()) or "without an ending"


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino
