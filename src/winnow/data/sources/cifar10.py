"""CIFAR-10 from its official binary archive, fetched once or given as a file."""

import gzip
import tarfile
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np

from winnow.core.errors import Refused
from winnow.data.labelled import check_labels, classified, labelled, limited
from winnow.data.source import Options, Part, Source
from winnow.data.sources.decode import resize_all
from winnow.data.sources.download import fetch
from winnow.data.sources.sets import files_digest

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CHECKSUM = "md5:c32a1d4ab5d03f1284b67883e8d87530"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = tuple(f"cifar-10-batches-bin/data_batch_{number}.bin" for number in range(1, 6))
TEST = ("cifar-10-batches-bin/test_batch.bin",)
PIXELS = 3 * 32 * 32  # in (channels, height, width) order
RECORD = 1 + PIXELS
BLOCK = 1 << 20
LARGEST = 10_000 * RECORD


def cifar10(options: Options) -> Source:
    """50,000 training and 10,000 test images, 3x32x32, in 10 classes.

    `path` is the archive cifar-10-binary.tar.gz; without it the archive is fetched into the user's cache.
    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    archive = Path(options.path) if options.path else fetch(URL, CHECKSUM)
    members = read_members(archive, TRAIN + TEST)
    train, test = (
        part_of([members[name] for name in names], limit, option, options, len(CLASSES))
        for names, limit, option in (
            (TRAIN, options.limit_train, "limit_train"),
            (TEST, options.limit_test, "limit_test"),
        )
    )
    return classified(train, test, CLASSES, digest=files_digest([archive]))


def read_members(
    archive: Path, names: tuple[str, ...], called: str = "cifar-10-binary.tar.gz", largest: int = LARGEST
) -> dict[str, bytes]:
    """The contents of the named regular files of a .tar.gz; nothing is written to disk, no other member is read.

    Raises Refused where the archive is missing, damaged or truncated, or has no such member of a sane size.
    """
    found = {}
    if archive.exists() and not archive.is_file():  # a pipe would wait for ever
        raise Refused(f"data.path {archive} is no regular file; give {called}, or null to fetch it")
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.name in names and member.isfile() and member.size <= largest:
                    found[member.name] = cast(IO[bytes], tar.extractfile(member)).read()
            while stream.read(BLOCK):  # to the end, where gzip keeps its checksum
                pass
    except FileNotFoundError as error:
        raise Refused(f"data.path {archive} does not exist; give {called}, or null to fetch it") from error
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        raise Refused(f"{archive} is damaged or no .tar.gz archive ({error}); fetch it again") from error
    if missing := [name for name in names if name not in found]:
        raise Refused(f"{archive} has no {missing[0]}; it takes the binary version, {called}")
    return found


def part_of(
    files: list[bytes], limit: int | None, option: str, options: Options, classes: int, before: int = 1
) -> Part:
    """The images of binary files, each `before` bytes of which the last is its label, and then its pixels."""
    data, size = b"".join(files), before + PIXELS
    if len(data) % size:
        raise Refused(f"the archive's files hold {len(data)} bytes, no multiple of {size} for an image; fetch it again")
    records = np.frombuffer(data, np.uint8).reshape(-1, size)
    labels = records[:, before - 1].astype(np.int32)
    check_labels(labels, classes, "the archive")
    rows = limited(labels, limit, option, options.seed)
    images = records[rows, before:].reshape(-1, 3, 32, 32)
    return labelled(resize_all(images, options.image_size), labels[rows], rows)
