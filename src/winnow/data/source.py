"""What every source of data gives: named arrays with a row each, checked once, whatever they were made of."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from winnow.core.errors import Refused

Columns = Mapping[str, np.ndarray]  # by name, each (rows, ...): one shape and dtype for all rows
ImageSize = int | Sequence[int] | None  # the side of a square, or (height, width), in pixels; None: as they are
GROUP = "group"  # a column of splits whose rows have groups: their numbers
TAKEN = ("row", "source", "hash")  # columns that every split has beside those of its source
EXAMPLE = "Part({'image': images, 'label': labels})"


@dataclass(frozen=True)
class Options:
    """What a source may be told; each takes what it needs."""

    path: str | Path | None = None
    image_column: str | None = None
    label_column: str | None = None
    image_size: ImageSize = None
    limit_train: int | None = None
    limit_test: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """Columns of n rows each, and the rows' numbers in the source (None: 0, 1, …).

    `groups` (n,), numbers or texts, say whose a row is (a speaker, a patient): no group is torn apart by a split.
    """

    columns: Columns
    rows: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))


@dataclass(frozen=True)
class Source:
    """A data set in memory. `facts` are what its task and its networks must know beside the arrays, as JSON has it.

    `digest` names the raw data it was read from; without `test`, some of `train` is held out later. `left_out` counts,
    by reason, what of the raw data is not used; `notes` say in sentences what was done to the rest.
    """

    train: Part
    test: Part | None
    facts: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def parts(self) -> dict[str, Part]:
        return {"train": self.train} | ({} if self.test is None else {"test": self.test})

    def with_parts(self, parts: Mapping[str, Part]) -> "Source":
        """The same source with other parts, of the same names."""
        return replace(self, train=parts["train"], test=parts.get("test"))


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an image size."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def checked(source: Source) -> Source:
    """The source with rows numbered, in arrays that can be stored; Refused where it cannot be used.

    What its columns mean is checked by the task that reads them.
    """
    _check_facts(source)
    parts = {name: _checked_part(part, name) for name, part in source.parts().items()}
    return replace(source.with_parts(parts), facts=json.loads(json.dumps(source.facts)), notes=tuple(source.notes))


def _check_facts(source: Source) -> None:
    """What goes into the manifest beside the arrays."""
    if not isinstance(source.digest, str):
        kind = type(source.digest).__name__
        raise Refused(f"the source's digest is {source.digest!r} ({kind}); it takes a text")
    if not isinstance(source.facts, Mapping) or not all(isinstance(name, str) for name in source.facts):
        kind = type(source.facts).__name__
        raise Refused(f"the source's facts are a {kind}; it takes a dict, such as facts={{'classes': ['cat', 'dog']}}")
    try:
        json.dumps(source.facts, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise Refused(
            f"the source's facts cannot be written as JSON ({error}): give plain texts and numbers"
        ) from error
    left, notes = source.left_out, source.notes
    if not isinstance(left, Mapping) or not all(isinstance(k, str) and type(v) is int for k, v in left.items()):
        raise Refused("the source's left_out takes a dict of reasons and whole numbers")
    if not isinstance(notes, tuple | list) or not all(isinstance(note, str) for note in notes):
        raise Refused("the source's notes take a tuple of texts")


def _checked_part(part: Part, name: str) -> Part:
    if not isinstance(part, Part):
        raise Refused(f"the source's {name} is a {type(part).__name__}; write {name}={EXAMPLE}")
    if not isinstance(part.columns, Mapping) or not part.columns:
        kind = type(part.columns).__name__
        raise Refused(f"the columns of the source's {name} are a {kind}; it takes arrays by name: {name}={EXAMPLE}")
    if wrong := [key for key in part.columns if key in TAKEN or not isinstance(key, str) or not key.isidentifier()]:
        raise Refused(f"a column of the {name} part is called {wrong[0]!r}; it takes a plain name, none of {TAKEN}")
    columns = {key: _as_column(values, f"column {key!r} of the {name} part") for key, values in part.columns.items()}
    lengths = {key: len(values) for key, values in columns.items()}
    count = next(iter(lengths.values()))
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key} {length}" for key, length in lengths.items())
        raise Refused(f"the columns of the {name} part have different lengths ({told}); each takes one value a row")
    if not count:
        raise Refused(f"the {name} part has no rows")
    rows = np.arange(count) if part.rows is None else _as_array(part.rows, f"the {name} rows")
    if rows.shape != (count,) or rows.dtype.kind not in "iu":
        raise Refused(f"{count} {name} rows need as many row numbers, or rows=None; got {rows.dtype} {rows.shape}")
    groups = None if part.groups is None else _as_array(part.groups, f"the {name} groups")
    if groups is not None and (groups.shape != (count,) or groups.dtype.kind not in "iuU"):
        raise Refused(
            f"{count} {name} rows need as many groups, numbers or texts, or groups=None; "
            f"got {groups.dtype} {groups.shape}"
        )
    return Part(columns, rows.astype(np.int64), groups)


def _as_column(values: Any, what: str) -> np.ndarray:
    """Numbers of one size, in the byte order that files have."""
    array = _as_array(values, what)
    if array.ndim == 0 or 0 in array.shape[1:]:
        raise Refused(f"{what} has shape {array.shape}; it takes (rows, ...)")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        hint = ": write .astype(np.uint8)" if array.dtype.kind == "b" else ""
        raise Refused(f"{what} holds {array.dtype} values; a column takes whole or real numbers of up to 64 bits{hint}")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _as_array(values: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except Exception as error:  # ragged lists, tensors on a device: whatever numpy or their makers raise
        raise Refused(
            f"{what} is a {type(values).__name__} that is no array of numbers; write a numpy array"
        ) from error
