"""Handwritten characters that come with winnow: a task that is small and far from solved.

omniglot.parquet is made by benchmarks/omniglot.py; its licence lies beside it, omniglot.LICENSE.
"""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.labelled import classified, labelled, limited
from winnow.data.source import Options, Part, Source
from winnow.data.sources.columns import opened
from winnow.data.sources.decode import resize_all

FILE = Path(__file__).with_name("omniglot.parquet")
DIGEST = "7ee6cbbfeb8dd464b0f2f0ccdb5fa354"  # as benchmarks/omniglot.py prints it
SHAPE = (1, 14, 14)  # channels, height, width
TRAINED = 10  # drawers 0 to 9 are for training, the others for the test


def omniglot(options: Options) -> Source:
    """2,340 grey images of 14x14 pixels: 117 characters of four alphabets, each drawn once by twenty people.

    Ten people's drawings are the training set, each person in one split; ten others' are the test set. A mirrored
    character is another one. From 105x105 by averaging areas; Balinese, Early Aramaic, Greek, Japanese (katakana).
    Source: Lake, Salakhutdinov, Tenenbaum 2015, "Human-level concept learning through probabilistic program induction".
    """
    table = opened(FILE).read()
    if digest_of(table) != DIGEST:
        raise Refused(f"{FILE} is not the file that came with winnow; install it again")
    classes, labels = np.unique(table["character"].to_pylist(), return_inverse=True)
    pixels = np.frombuffer(b"".join(table["pixels"].to_pylist()), np.uint8).reshape(-1, *SHAPE)
    drawers = table["drawer"].to_numpy()

    def part(rows: np.ndarray, limit: int | None, option: str) -> Part:
        rows = rows[limited(labels[rows], limit, option, options.seed)]
        made = labelled(resize_all(pixels[rows], options.image_size), labels[rows], rows)
        return Part(made.columns, made.rows, drawers[rows])

    train = part(np.flatnonzero(drawers < TRAINED), options.limit_train, "limit_train")
    test = part(np.flatnonzero(drawers >= TRAINED), options.limit_test, "limit_test")
    return classified(train, test, tuple(classes.tolist()), symmetric=False, digest=DIGEST)


def digest_of(table: pa.Table) -> str:
    """32 hexadecimal digits of the rows, however a file stores them."""
    content = "\n".join(f"{r['character']} {r['drawer']} {r['pixels'].hex()}" for r in table.to_pylist())
    return hashlib.blake2b(content.encode(), digest_size=16).hexdigest()
