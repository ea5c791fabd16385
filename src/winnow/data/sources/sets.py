"""Parquet files with something encoded (an image, a clip) and a label a row: which rows are training and test."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.labelled import limited
from winnow.data.source import Options
from winnow.data.sources.columns import nearest_column, opened, read_batches
from winnow.data.sources.decode import Encoded
from winnow.data.sources.labels import number, numbers_of, read_labels
from winnow.data.sources.pixels import Unusable
from winnow.data.sources.shards import check_whole, find_shards

LABEL_NAMES = ("label", "labels", "fine_label")


@dataclass(frozen=True)
class Column:
    """The one that is `wanted`, or the first of the `known` names that is there; `option` is where it is said."""

    wanted: str | None
    known: Sequence[str]
    option: str

    def of(self, file: Path) -> str:
        """Its name in a file; Refused with the nearest if there is none."""
        return nearest_column(self.wanted, opened(file).schema_arrow.names, self.known, file.name, self.option)


@dataclass(frozen=True)
class Set:
    """Files, the numbers of the classes of all their rows, and the rows that are wanted, in ascending order."""

    files: list[Path]
    labels: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True)
class Sets:
    """Training and, where there is one, the test set; the column that is read; the rest as a source has it."""

    sets: list[Set]
    column: str
    classes: tuple[str, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...]


def read_sets(options: Options, source: str, what: str, column: Column, new_classes: bool = False) -> Sets:
    """The sets at data.path with their labels, for `source`, whose rows hold one `what` each in a `column`.

    A file is all training data; in a folder, `find_shards` says which files are training and test. Class names come
    from the `huggingface` schema metadata, from text labels, or are the numbers. A test set without labels is left out;
    with `new_classes` its own classes follow those of training.
    """
    if options.path is None:
        raise Refused(f"data.source is {source!r} and data.path is not set; give a Parquet file or a folder of them")
    shards = find_shards(Path(options.path))
    name = column.of(shards.train[0])
    label = Column(options.label_column, LABEL_NAMES, "data.label_column").of(shards.train[0])
    train = read_labels(shards.train, label)
    if train is None:
        raise Refused(f"{shards.train[0].name}: no {what} is labelled: column {label!r} holds nothing but null or -1")
    numbers, classes, notes = number(train, label)
    sets = [Set(shards.train, numbers, limited(numbers, options.limit_train, "limit_train", options.seed))]
    left_out = shards.left_out
    for role, files in shards.tests.items():
        test = None
        if len(sets) == 1:
            check_whole(Path(options.path), files)
            test = read_labels(files, label, train)
        if test is None:
            why = f"{sets[1].files[0].name} is the test set" if len(sets) > 1 else "it has no labels"
            left_out[f"file of {role}"] += len(files)
            notes += (f"{role} is left out: {why}",)
        else:
            if new_classes:
                classes += tuple(name for name in number(test, label)[1] if name not in classes)
            numbers = numbers_of(test, classes, files[0].name)
            sets.append(Set(files, numbers, limited(numbers, options.limit_test, "limit_test", options.seed)))
            notes += test.notes + (() if role == "test" else (f"{role} is taken for the test set",))
    return Sets(sets, name, classes, dict(left_out), notes)


def files_digest(files: Sequence[Path]) -> str:
    """32 hex digits of the bytes of the files, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def encoded(found: Sets, what: str, supported: str, option: str) -> Iterator[Encoded]:
    """(place, bytes) of the wanted rows of all sets; `supported` says what the column may hold."""
    for one in found.sets:
        yield from _encoded(one.files, Column(found.column, (), option), one.rows, what, supported)


def _encoded(files: Sequence[Path], wanted: Column, rows: np.ndarray, what: str, supported: str) -> Iterator[Encoded]:
    """Those of one set, numbered through all its files; some thousand rows are read at a time."""
    start = 0
    for file in files:
        schema, column = opened(file).schema_arrow, wanted.of(file)
        if opened(file).metadata.num_rows:  # an empty shard may have any type
            _check_type(schema.field(column).type, column, file.name, what, supported)
        offset = start
        for values in read_batches(file, column):
            for row in rows[np.searchsorted(rows, offset) : np.searchsorted(rows, offset + len(values))]:
                value = values[int(row) - offset].as_py()
                path = value.get("path") if isinstance(value, dict) else None
                data = value["bytes"] if isinstance(value, dict) else value
                if data is None:
                    data = Unusable(
                        f"only its path was stored, {path!r}; store the {what}s themselves in the file"
                        if path
                        else f"the {what} is null; leave such rows out"
                    )
                yield f"{file.name}, row {row - start}", data
            offset += len(values)
        start = offset


def _check_type(kind: pa.DataType, column: str, file: str, what: str, supported: str) -> None:
    """Refuse a column that holds nothing encoded, in words that fit what it holds."""
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
        several = pa.types.is_struct(element) or pa.types.is_binary(element)
        held = f"several {what}s a row" if several else "bare numbers"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        held = f"text, perhaps paths, not the {what}s themselves"
    elif pa.types.is_struct(kind):
        held = f"perhaps paths, not the {what}s themselves"
    elif pa.types.is_null(kind):
        held = "nothing but null"
    else:
        held = "bare numbers"
    raise Refused(f"{file}: column {column!r} holds {kind}, {held}; {supported}")
