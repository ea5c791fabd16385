"""A folder of image files, one subfolder a class."""

import difflib
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from winnow.core.errors import Refused
from winnow.data.labelled import classified, labelled, limited
from winnow.data.source import Options, Source
from winnow.data.sources.decode import Encoded, decode_all
from winnow.data.sources.layout import Layout, layout_of
from winnow.data.sources.pixels import Unusable
from winnow.data.sources.walk import HIDDEN, Parts, Walk, endings, shown, text_of, walk_images

LARGEST = 1 << 30  # bytes; Pillow takes no image whose pixels would need many more
NAMED = 20


def image_folder(options: Options) -> Source:
    """`path`/class/* (subfolders and links too), or `path`/train/class/* with, if there is one, a test set beside it.

    Which files are images their content says; other files are left alone and counted. Split names and which of them
    is the test set: `layout_of`. Classes are the subfolders' names, sorted. The digest covers the names and bytes of
    the files used. A mirrored image is taken to keep its label.
    """
    if options.path is None:
        raise Refused("data.source is 'image_folder' and data.path is not set; give a folder with a subfolder a class")
    root = Path(options.path)
    if not root.is_dir():
        raise Refused(f"data.path {shown(root)} is no folder; give a folder with a subfolder a class")
    found = walk_images(root)
    if found.broken:
        raise Refused(_broken(root, found))
    layout = layout_of(shown(root), found.images, found.folders)
    classes, empty = _classes(root, found, layout)
    sets = [(layout.train, *_chosen(layout.train_images, layout.train, classes, options.limit_train, "train", options))]
    if layout.test:
        _check_known(root, layout, classes)
        sets.append(
            (layout.test, *_chosen(layout.test_images, layout.test, classes, options.limit_test, "test", options))
        )
    digest, count = hashlib.blake2b(digest_size=16), sum(len(rows) for *_, rows in sets)
    encoded = (each for top, files, _, _ in sets for each in _encoded(root, files, len(top), digest))
    images, notes = decode_all(encoded, count, options.image_size)
    parts = []
    for _, _, labels, rows in sets:
        parts.append(labelled(images[: len(rows)], labels, rows))
        images = images[len(rows) :]
    return classified(
        parts[0],
        parts[1] if layout.test else None,
        tuple(map(text_of, classes)),
        digest=digest.hexdigest(),
        left_out=_left_out(found, layout),
        notes=(*layout.notes, *empty, *_renamed(classes), *notes),
    )


def _classes(root: Path, found: Walk, layout: Layout) -> tuple[list[str], tuple[str, ...]]:
    """The classes that have training images, and a note of those whose folders are empty.

    Refused where there are none, and where a folder in the place of a class holds files and not one image.
    """
    depth = len(layout.train)
    classes = sorted({parts[depth] for parts in layout.train_images})
    beside = {p[depth] for p in found.folders if len(p) == depth + 1 and p[:depth] == layout.train} - set(classes)
    for name in sorted(beside):
        place = (*layout.train, name)
        held = Counter(why for parts, why in found.left if parts[: depth + 1] == place and why != HIDDEN)
        if held:
            what = ", ".join(f"{n} {why}" for why, n in held.most_common(5))
            raise Refused(
                f"{shown(root.joinpath(*place))} stands for a class and holds no image ({what}); "
                "move it away, or store its images as PNG or JPEG"
            )
    if not classes:
        raise Refused(
            f"{shown(root.joinpath(*layout.train))} has no image files below its subfolders (a subfolder a class); "
            f"known endings: {', '.join(sorted(endings()))}"
        )
    if twice := [name for name, n in Counter(map(_same, classes)).items() if n > 1]:
        raise Refused(f"{shown(root)} has two class folders {twice[0]!r} that differ in their bytes alone; rename one")
    said = f"empty class folder(s) left out: {', '.join(map(shown, sorted(beside)))}"
    return classes, (said,) if beside else ()


def _check_known(root: Path, layout: Layout, classes: Sequence[str]) -> None:
    known = {_same(name): name for name in classes}
    for name in sorted({parts[len(layout.test)] for parts in layout.test_images}):
        if _same(name) not in known:
            close = difflib.get_close_matches(_same(name).lower(), {each.lower() for each in known}, 1)
            hint = f"; nearest: {close[0]!r}" if close else ""
            where = shown(root.joinpath(*layout.test))
            raise Refused(f"{where} has the class {shown(name)!r} that the training images have not{hint}")


def _same(name: str) -> str:
    """A class's name as it is compared: macOS writes "é" as two characters, others as one."""
    return unicodedata.normalize("NFC", text_of(name))


def _chosen(
    images: Sequence[Parts], top: Parts, classes: Sequence[str], limit: int | None, name: str, options: Options
) -> tuple[list[Parts], np.ndarray, np.ndarray]:
    """The files that are read, their labels, and their places among all images of the set, class after class."""
    numbers = {_same(name): number for number, name in enumerate(classes)}
    files = sorted(images)  # so by class, the first part that differs
    labels = np.array([numbers[_same(parts[len(top)])] for parts in files], np.int32)
    rows = limited(labels, limit, f"limit_{name}", options.seed)
    return [files[row] for row in rows], labels[rows], rows


def _encoded(root: Path, files: Sequence[Parts], depth: int, digest: "hashlib.blake2b") -> Iterator[Encoded]:
    for parts in files:
        path, name = root.joinpath(*parts), os.fsencode("/".join(parts[depth:]))
        try:
            if path.stat().st_size > LARGEST:
                raise OSError(0, f"it has more than {LARGEST >> 20} MiB; shrink it beforehand")
            data = path.read_bytes()
        except OSError as error:
            yield shown(path), Unusable(f"cannot be read ({error.strerror})")
            continue
        digest.update(len(name).to_bytes(8, "little") + name + len(data).to_bytes(8, "little") + data)
        yield shown(path), data


def _left_out(found: Walk, layout: Layout) -> dict[str, int]:
    counts = Counter(why for _, why in found.left) + Counter(layout.left_out)
    often = dict(counts.most_common(12))
    rest = counts.total() - sum(often.values())
    return often | ({"others": rest} if rest else {})


def _renamed(classes: Sequence[str]) -> tuple[str, ...]:
    odd = [text_of(name) for name in classes if text_of(name) != name]
    return (f"class names that are no UTF-8 are taken for Latin-1: {', '.join(odd)}",) if odd else ()


def _broken(root: Path, found: Walk) -> str:
    named = [f"{shown(root.joinpath(*parts))} ({why})" for parts, why in found.broken[:NAMED]]
    more = f" and {len(found.broken) - NAMED} more" if len(found.broken) > NAMED else ""
    return f"cannot read {', '.join(named)}{more}: fetch, mend or remove what these names stand for"
