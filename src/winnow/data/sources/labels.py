"""The labels of Parquet files as numbers from 0 and class names, whatever type each file keeps them in."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.core.errors import Refused
from winnow.data.sources.columns import cast, opened, read_column


@dataclass(frozen=True)
class Labels:
    """A value a row, text or int64, and the names a ClassLabel column declares (empty: none)."""

    values: np.ndarray
    declared: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labels(files: Sequence[Path], column: str, train: Labels | None = None) -> Labels | None:
    """All labels of one set; None where not one row is labelled (all are null or -1), as in tests of competitions.

    Numbers of a ClassLabel column become the names that the same file declares, so files may number them in different
    ways; numbers of a file that declares none are read by those of the other files, or of `train`. Where `train`
    has bare numbers, so has a test set. Refused on labels that are partly missing, on values that are no labels, and
    on files of different kinds.
    """
    read = [(file, *_values(file, column)) for file in files]
    if train is not None and not train.declared:
        read = [(file, values, ()) for file, values, _ in read]
    if not any(len(values) for _, values, _ in read):
        raise Refused(f"{files[0].name} has no rows")
    read = [each for each in read if len(each[1])]
    if all(_unlabelled(values) for _, values, _ in read):
        return None
    declared = tuple(dict.fromkeys(name for *_, own in read for name in own))
    declared = declared or (train.declared if train else ())
    notes, parts = [], []
    for file, values, own in read:
        if values.null_count:
            raise Refused(
                f"{file.name}: {values.null_count} of {len(values)} values in column {column!r} are null; label them"
            )
        numbers = values.to_numpy()
        if pa.types.is_integer(values.type):
            _check_range(numbers, len(own or declared), file.name)
            if declared:
                if not own:
                    notes.append(f"{file.name} declares no class names; its numbers are read as those of other files")
                numbers = np.array(own or declared, object)[numbers]
        elif own and (unknown := next((v for v in values.unique().to_pylist() if v not in own), None)):
            raise Refused(f"{file.name}: the label {unknown!r} is none of the class names that the file declares")
        parts.append(numbers)
    if len(kinds := {str(values.type) for _, values, _ in read}) > 1 and not declared:
        raise Refused(f"column {column!r} is {' in one and '.join(sorted(kinds))} in another of {len(files)} files")
    return Labels(np.concatenate(parts), declared, tuple(notes))


def number(train: Labels, column: str) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Training labels numbered from 0, the class names, and notes. Names that no image has are left out.

    Classes are in the order that was declared, or else sorted; bare numbers are their own names.
    """
    used = np.unique(train.values)
    if not train.declared:
        numbered, classes = np.searchsorted(used, train.values), tuple(str(value) for value in used)
        new = classes != tuple(map(str, range(len(classes)))) and used.dtype.kind == "i"
        note = f"labels {_some(classes)} of column {column!r} are numbered 0 to {len(classes) - 1}"
        return numbered.astype(np.int32), classes, (*train.notes, *([note] if new else []))
    present = set(used.tolist())
    classes = tuple(name for name in train.declared if name in present)
    unused = [name for name in train.declared if name not in present]
    note = f"class names without an image left out: {_some(unused)}"
    return numbers_of(train, classes, ""), classes, (*train.notes, *([note] if unused else []))


def numbers_of(labels: Labels, classes: tuple[str, ...], file: str) -> np.ndarray:
    """The numbers of labels by the training classes; Refused, in the name of `file`, on another label."""
    values = labels.values if labels.values.dtype == object else labels.values.astype(str)
    found = pc.index_in(pa.array(values, pa.string()), pa.array(classes, pa.string()))
    if found.null_count:
        unknown = labels.values[pc.is_null(found).to_numpy(zero_copy_only=False)][0]
        shown = repr(unknown) if isinstance(unknown, str) else unknown
        raise Refused(f"{file}: the label {shown} is no class of the training data ({_some(classes)})")
    return found.to_numpy().astype(np.int32)


def _values(file: Path, column: str) -> tuple[pa.ChunkedArray, tuple[str, ...]]:
    """The column as text or int64, and the declared names."""
    values = read_column(file, column, "data.label_column")
    if len(values) == 0:
        return values, _class_names(file, column)
    kind = values.type
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(values), pa.int64())]), ()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        raise Refused(f"{file.name}: column {column!r} holds {kind}, several labels an image; it takes one")
    plain = pa.types.is_boolean(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if plain or pa.types.is_integer(kind):
        values = cast(values, pa.int64())
    else:
        values = cast(values, pa.string()) if _is_text(kind) else None
    if values is None:
        raise Refused(f"{file.name}: column {column!r} holds {kind}; labels are whole numbers or names")
    return values, _class_names(file, column)


def _is_text(kind: pa.DataType) -> bool:
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _unlabelled(values: pa.ChunkedArray) -> bool:
    if values.null_count == len(values):
        return True
    return pa.types.is_integer(values.type) and not values.null_count and bool((values.to_numpy() == -1).all())


def _check_range(labels: np.ndarray, classes: int, name: str) -> None:
    wrong = np.flatnonzero((labels < 0) | (labels >= classes if classes else False))
    if len(wrong):
        known = f"with {classes} classes a label is 0 to {classes - 1}" if classes else "a label is 0 or more"
        raise Refused(
            f"{name}: {len(wrong)} label(s) out of range, the first is {labels[wrong[0]]} at row {wrong[0]}; {known}"
        )


def _class_names(file: Path, column: str) -> tuple[str, ...]:
    """The names that Hugging Face keeps in the schema's metadata for a ClassLabel column; empty where it keeps none."""
    text = (opened(file).schema_arrow.metadata or {}).get(b"huggingface")
    try:
        feature = json.loads(text).get("info", {}).get("features", {}).get(column, {}) if text else {}
        names = tuple(str(name) for name in feature["names"]) if "names" in feature else ()
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{file.name}: the names of its classes (schema metadata 'huggingface') are damaged") from error
    if len(set(names)) < len(names):
        raise Refused(f"{file.name} declares a class name twice; each class needs a name of its own")
    return names


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
