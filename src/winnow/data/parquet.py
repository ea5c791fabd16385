"""Parquet files in the Hugging Face image-classification schema: one file, or a folder of train and test shards."""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.data.decode import decode_all
from winnow.data.source import Options, Part, Source, check_labels, limited

IMAGE_NAMES = ("image", "img")
LABEL_NAMES = ("label", "labels", "fine_label")
TEST_NAMES = ("test", "validation", "valid", "val")  # the first of these that has files is the test set
ROWS_AT_ONCE = 2048


def parquet(options: Options) -> Source:
    """Images as `struct<bytes, path>` or binary (JPEG, PNG, …), labels as whole numbers or names.

    `path` is a file (all of it is training data) or a folder with `train*.parquet` and, if there is one, a test set
    `test*.parquet` (else `validation*`), also in subfolders. Class names come from the `huggingface` schema metadata,
    from text labels, or are the numbers. A mirrored image is taken to keep its label.
    """
    if options.path is None:
        raise Refused("data.source is 'parquet' and data.path is not set; give a Parquet file or a folder of them")
    train, test = find_shards(Path(options.path))
    columns = _columns(train[0], options)
    labels, classes = _read_labels(train, columns[1])
    rows = limited(labels, options.limit_train, "limit_train", options.seed)
    parts = [Part(_read_images(train, columns[0], rows, options.image_size), labels[rows], rows)]
    if test:
        labels, _ = _read_labels(test, columns[1], classes)
        rows = limited(labels, options.limit_test, "limit_test", options.seed)
        parts.append(Part(_read_images(test, columns[0], rows, options.image_size), labels[rows], rows))
    return Source(parts[0], parts[1] if test else None, classes, digest=files_digest([*train, *test]))


def find_shards(path: Path) -> tuple[list[Path], list[Path]]:
    """The training files and the test files (maybe none) at `path`, each in the order of their names."""
    if path.is_file():
        return [path], []
    if not path.is_dir():
        raise Refused(f"data.path {path} does not exist; give a Parquet file or a folder of them")
    files = sorted(path.rglob("*.parquet"))
    roles = {file: _role(file.relative_to(path)) for file in files}
    train = [file for file in files if roles[file] == "train"]
    name = next((name for name in TEST_NAMES if name in roles.values()), None)
    test = [file for file in files if name and roles[file] == name]
    if not train:
        seen = ", ".join(f.name for f in files[:5]) or "no .parquet file"
        raise Refused(f"{path} has no train*.parquet (found: {seen}); name the training files train.parquet or so")
    return train, test


def files_digest(files: Sequence[Path]) -> str:
    """32 hex digits of the bytes of the files, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def nearest_column(wanted: str | None, names: Sequence[str], known: Sequence[str], file: str, option: str) -> str:
    """The column `wanted`, or the first of the `known` names that is there; Refused with the nearest name if none."""
    for name in (wanted,) if wanted else known:
        if name in names:
            return name
    close = difflib.get_close_matches(wanted or known[0], names, 1)
    hint = f"; nearest: {close[0]!r}" if close else ""
    what = repr(wanted) if wanted else " or ".join(map(repr, known))
    raise Refused(f"{file} has no column {what}{hint} (columns: {', '.join(names)}); set {option}")


def _role(file: Path) -> str | None:
    """ "train" or one of TEST_NAMES: what the file's name begins with, or else the nearest folder's."""
    for part in (file.stem, *reversed(file.parent.parts)):
        if match := re.match(rf"({'|'.join(('train', *TEST_NAMES))})([^a-zA-Z]|$)", part):
            return match[1]
    return None


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{file} is no whole Parquet file ({_first_line(error)}); fetch or write it again") from error


def _columns(file: Path, options: Options) -> tuple[str, str]:
    names = _open(file).schema_arrow.names
    return (
        nearest_column(options.image_column, names, IMAGE_NAMES, file.name, "data.image_column"),
        nearest_column(options.label_column, names, LABEL_NAMES, file.name, "data.label_column"),
    )


def _read_labels(
    files: Sequence[Path], column: str, classes: tuple[str, ...] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """All labels of the files as numbers, with the class names (those given, or found out)."""
    chunks = []
    for file in files:
        opened = _open(file)
        nearest_column(column, opened.schema_arrow.names, (), file.name, "data.label_column")
        try:
            chunks.append(opened.read([column])[column])
        except (pa.ArrowException, OSError) as error:
            raise Refused(f"{file} is damaged ({_first_line(error)}); fetch or write it again") from error
    if len(kinds := {str(chunk.type) for chunk in chunks}) > 1:
        raise Refused(f"column {column!r} is {' in one and '.join(sorted(kinds))} in another of {len(files)} files")
    name, values = files[0].name, pa.chunked_array([part for chunk in chunks for part in chunk.chunks], chunks[0].type)
    if len(values) == 0:
        raise Refused(f"{name} has no rows")
    if values.null_count:
        raise Refused(f"{name}: {values.null_count} of {len(values)} values in column {column!r} are null; label them")
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        classes = classes or tuple(sorted(pc.unique(values).to_pylist()))
        found = pc.index_in(values, pa.array(classes, values.type))
        if found.null_count:
            unknown = values.filter(pc.is_null(found))[0].as_py()
            raise Refused(f"{name}: the label {unknown!r} is no class of the training data ({', '.join(classes)})")
        return found.to_numpy(), classes
    if not pa.types.is_integer(values.type):
        raise Refused(f"{name}: column {column!r} holds {values.type}; labels are whole numbers or names")
    labels = values.to_numpy()
    classes = classes or _class_names(files[0], column)
    classes = classes or tuple(str(number) for number in range(max(int(labels.max()) + 1, 0)))
    check_labels(labels, len(classes), name)
    return labels, classes


def _class_names(file: Path, column: str) -> tuple[str, ...] | None:
    """The names that Hugging Face keeps in the schema's metadata for a ClassLabel column; None where it keeps none."""
    text = (_open(file).schema_arrow.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(text).get("info", {}).get("features", {}).get(column, {}) if text else {}
        return tuple(str(name) for name in feature["names"]) if "names" in feature else None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{file.name}: the names of its classes (schema metadata 'huggingface') are damaged") from error


def _read_images(files: Sequence[Path], column: str, rows: np.ndarray, size: int | None) -> np.ndarray:
    return decode_all(_encoded(files, column, rows), len(rows), size)


def _encoded(files: Sequence[Path], column: str, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
    """(place, bytes) of the wanted rows, numbered through all files; a row group is read at a time."""
    start = 0
    for file in files:
        opened = _open(file)
        nearest_column(column, opened.schema_arrow.names, (), file.name, "data.image_column")
        _check_image_type(opened.schema_arrow.field(column).type, column, file.name)
        batches, offset = opened.iter_batches(ROWS_AT_ONCE, columns=[column]), start
        while batch := _next(batches, file):
            values = batch.column(0)
            values = values.field("bytes") if pa.types.is_struct(values.type) else values
            for row in rows[np.searchsorted(rows, offset) : np.searchsorted(rows, offset + len(values))]:
                data = values[int(row) - offset].as_py()
                if data is None:
                    raise Refused(f"{file.name}, row {row - start}: the image is null; leave such rows out")
                yield f"{file.name}, row {row - start}", data
            offset += len(values)
        start = offset


def _next(batches: Iterator[pa.RecordBatch], file: Path) -> pa.RecordBatch | None:
    try:
        return next(batches, None)
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{file} is damaged ({_first_line(error)}); fetch or write it again") from error


def _check_image_type(kind: pa.DataType, column: str, file: str) -> None:
    encoded = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
        raise Refused(
            f"{file}: column {column!r} holds {kind}; images must be encoded (JPEG, PNG) as struct<bytes, path> or "
            "binary, not as bare numbers, which may be NaN or of any range"
        )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
