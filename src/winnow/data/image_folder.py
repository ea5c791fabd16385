"""A folder of image files, one subfolder a class."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from winnow.core.errors import Refused
from winnow.data.decode import decode_all
from winnow.data.source import Options, Part, Source, limited

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def image_folder(options: Options) -> Source:
    """`path`/class/*.png (jpg, …; subfolders too), or `path`/train/class/* with, if there is one, `path`/test/class/*.

    Classes are the subfolders' names, sorted; other files are left alone. The digest covers the names and bytes of
    the files used. A mirrored image is taken to keep its label.
    """
    if options.path is None:
        raise Refused("data.source is 'image_folder' and data.path is not set; give a folder with a subfolder a class")
    root = Path(options.path)
    if not root.is_dir():
        raise Refused(f"data.path {root} is no folder; give a folder with a subfolder a class")
    top = root / "train" if (root / "train").is_dir() else root
    classes = _subfolders(top)
    digest = hashlib.blake2b(digest_size=16)
    train = _part(top, classes, options.limit_train, "limit_train", options, digest)
    test = None
    if top != root and (root / "test").is_dir():
        if unknown := set(_subfolders(root / "test")) - set(classes):
            raise Refused(f"{root / 'test'} has the class {min(unknown)!r} that {top} has not; give both the same")
        test = _part(root / "test", classes, options.limit_test, "limit_test", options, digest)
    return Source(train, test, classes, digest=digest.hexdigest())


def _subfolders(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if not names:
        raise Refused(f"{folder} has no subfolders; each class takes one of its own")
    return names


def _part(
    top: Path, classes: Sequence[str], limit: int | None, option: str, options: Options, digest: hashlib.blake2b
) -> Part:
    files, numbers = [], []
    for label, name in enumerate(classes):
        mine = sorted(file for file in (top / name).rglob("*") if file.suffix.lower() in SUFFIXES)
        files += mine
        numbers += [label] * len(mine)
    if not files:
        raise Refused(f"{top} has no image files below its subfolders; known endings: {', '.join(sorted(SUFFIXES))}")
    labels = np.array(numbers, np.int32)
    rows = limited(labels, limit, option, options.seed)
    chosen = [files[row] for row in rows]
    return Part(decode_all(_encoded(chosen, top, digest), len(rows), options.image_size), labels[rows], rows)


def _encoded(files: Sequence[Path], top: Path, digest: hashlib.blake2b) -> Iterator[tuple[str, bytes]]:
    for file in files:
        data, name = file.read_bytes(), file.relative_to(top).as_posix().encode()
        digest.update(len(name).to_bytes(8, "little") + name + len(data).to_bytes(8, "little") + data)
        yield str(file), data
