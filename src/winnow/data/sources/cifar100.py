"""CIFAR-100 from its official binary archive, fetched once or given as a file."""

from pathlib import Path

from winnow.data.labelled import classified
from winnow.data.source import Options, Source
from winnow.data.sources.cifar10 import PIXELS, part_of, read_members
from winnow.data.sources.download import fetch
from winnow.data.sources.sets import files_digest

ARCHIVE = "cifar-100-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
CHECKSUM = "md5:03b5dce01913d631647c71ecec9e9cb8"
TRAIN, TEST, NAMES = (f"cifar-100-binary/{name}" for name in ("train.bin", "test.bin", "fine_label_names.txt"))
LABELS = 2  # of the twenty kinds, and of the hundred classes
LARGEST = 50_000 * (LABELS + PIXELS)


def cifar100(options: Options) -> Source:
    """50,000 training and 10,000 test images, 3x32x32, in 100 classes.

    `path` is the archive cifar-100-binary.tar.gz; without it the archive is fetched into the user's cache.
    Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images".
    """
    archive = Path(options.path) if options.path else fetch(URL, CHECKSUM)
    members = read_members(archive, (TRAIN, TEST, NAMES), ARCHIVE, LARGEST)
    classes = members[NAMES].decode("utf-8", errors="replace").split()
    train, test = (
        part_of([members[name]], limit, option, options, len(classes), LABELS)
        for name, limit, option in (
            (TRAIN, options.limit_train, "limit_train"),
            (TEST, options.limit_test, "limit_test"),
        )
    )
    return classified(train, test, classes, digest=files_digest([archive]))
