"""Parquet files in the Hugging Face image-classification schema: one file, or a folder of train and test shards."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.labelled import classified, labelled, limited
from winnow.data.source import Options, Source
from winnow.data.sources.columns import nearest_column, opened, read_batches
from winnow.data.sources.decode import Encoded, decode_all
from winnow.data.sources.labels import number, numbers_of, read_labels
from winnow.data.sources.pixels import Unusable
from winnow.data.sources.shards import check_whole, find_shards

IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels", "fine_label")
SUPPORTED = "images must be encoded (JPEG, PNG), as struct<bytes, path> or binary, one a row"


def parquet(options: Options) -> Source:
    """Images as `struct<bytes, path>` or binary (JPEG, PNG, …), labels as whole numbers or names.

    `path` is a file (all of it is training data) or a folder of one data set: `find_shards` says which files are
    training and test. Class names come from the `huggingface` schema metadata, from text labels, or are the numbers.
    A test set without labels is left out. A mirrored image is taken to keep its label.
    """
    if options.path is None:
        raise Refused("data.source is 'parquet' and data.path is not set; give a Parquet file or a folder of them")
    shards = find_shards(Path(options.path))
    image, label = _columns(shards.train[0], options)
    train = read_labels(shards.train, label)
    if train is None:
        raise Refused(f"{shards.train[0].name}: no image is labelled: column {label!r} holds nothing but null or -1")
    numbers, classes, notes = number(train, label)
    rows = limited(numbers, options.limit_train, "limit_train", options.seed)
    sets, left_out = [(shards.train, numbers, rows)], shards.left_out
    for role, files in shards.tests.items():
        test = None
        if len(sets) == 1:
            check_whole(Path(options.path), files)
            test = read_labels(files, label, train)
        if test is None:
            why = f"{sets[1][0][0].name} is the test set" if len(sets) > 1 else "it has no labels"
            left_out[f"file of {role}"] += len(files)
            notes += (f"{role} is left out: {why}",)
        else:
            numbers = numbers_of(test, classes, files[0].name)
            sets.append((files, numbers, limited(numbers, options.limit_test, "limit_test", options.seed)))
            notes += test.notes + (() if role == "test" else (f"{role} is taken for the test set",))
    encoded = (each for files, _, rows in sets for each in _encoded(files, image, rows))
    images, said = decode_all(encoded, sum(len(rows) for *_, rows in sets), options.image_size)
    count = len(sets[0][2])
    parts = [
        labelled(pixels, numbers[rows], rows)
        for (_, numbers, rows), pixels in zip(sets, (images[:count], images[count:]), strict=False)
    ]
    digest = files_digest([file for files, *_ in sets for file in files])
    test_part = parts[1] if len(parts) > 1 else None
    return classified(parts[0], test_part, classes, digest=digest, left_out=dict(left_out), notes=(*notes, *said))


def files_digest(files: Sequence[Path]) -> str:
    """32 hex digits of the bytes of the files, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _columns(file: Path, options: Options) -> tuple[str, str]:
    names = opened(file).schema_arrow.names
    return (
        nearest_column(options.image_column, names, IMAGE_NAMES, file.name, "data.image_column"),
        nearest_column(options.label_column, names, LABEL_NAMES, file.name, "data.label_column"),
    )


def _encoded(files: Sequence[Path], column: str, rows: np.ndarray) -> Iterator[Encoded]:
    """(place, bytes) of the wanted rows, numbered through all files; some thousand rows are read at a time."""
    start = 0
    for file in files:
        schema = opened(file).schema_arrow
        nearest_column(column, schema.names, (), file.name, "data.image_column")
        if opened(file).metadata.num_rows:  # an empty shard may have any type
            _check_image_type(schema.field(column).type, column, file.name)
        offset = start
        for values in read_batches(file, column):
            for row in rows[np.searchsorted(rows, offset) : np.searchsorted(rows, offset + len(values))]:
                value = values[int(row) - offset].as_py()
                path = value.get("path") if isinstance(value, dict) else None
                data = value["bytes"] if isinstance(value, dict) else value
                if data is None:
                    data = Unusable(
                        f"only its path was stored, {path!r}; store the images themselves in the file"
                        if path
                        else "the image is null; leave such rows out"
                    )
                yield f"{file.name}, row {row - start}", data
            offset += len(values)
        start = offset


def _check_image_type(kind: pa.DataType, column: str, file: str) -> None:
    """Refuse a column that holds no encoded images, in words that fit what it holds."""
    inner = kind
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        inner = kind.field("bytes").type
    if pa.types.is_dictionary(inner):
        inner = inner.value_type
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    if any(test(inner) for test in binary):
        return
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        element = kind.value_type
        what = "several images a row" if pa.types.is_struct(element) or pa.types.is_binary(element) else "bare numbers"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        what = "text, perhaps paths, not the images themselves"
    elif pa.types.is_struct(kind):
        what = "perhaps paths, not the images themselves"
    elif pa.types.is_null(kind):
        what = "nothing but null"
    else:
        what = "bare numbers"
    raise Refused(f"{file}: column {column!r} holds {kind}, {what}; {SUPPORTED}")
