"""Values of flat columns as float64 cells: keys of categories, numbers, times, labels; NaN where one is missing."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.sources.columns import cast

EXACT = 2**53  # whole numbers below it are exact in float64


def kind_of(kind: pa.DataType) -> Literal["category", "number", "neither"]:
    """What a column of this type is taken for where nobody says otherwise."""
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_integer(inner) or pa.types.is_boolean(inner) or _texts(inner):
        return "category"
    return "number" if pa.types.is_floating(inner) or pa.types.is_decimal(inner) else "neither"


def key_of(value: str | int, buckets: int = 0) -> float:
    """The key of a category: a whole number itself, 52 bits of the hash of a text; with `buckets`, one of so many."""
    if isinstance(value, int) and not buckets:
        return float(value)
    digest = hashlib.blake2b(str(value).encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little") >> 12
    return float(number % buckets if buckets else number)


def keys_of(file: Path, name: str, values: pa.ChunkedArray, buckets: int) -> np.ndarray:
    """(rows,) float64: the key of each row's category, NaN where it is null."""
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if pa.types.is_floating(values.type):
        whole = cast(_without_nan(values), pa.int64())
        if whole is None:
            raise Refused(
                f"{file.name}: column {name!r} holds real numbers, no categories: name it in data.options.dense"
            )
        values = whole
    if not pa.types.is_integer(values.type) and not _texts(values.type):
        raise Refused(f"{file.name}: column {name!r} holds {values.type}, no categories: leave it out, or write texts")
    coded = values.combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    known = coded.dictionary.to_pylist()
    if huge := next((v for v in known if isinstance(v, int) and abs(v) >= EXACT), None):
        raise Refused(f"{file.name}: column {name!r} holds {huge}; whole numbers stay below 2^53: write them as texts")
    keys = np.array([*(key_of(value, buckets) for value in known), np.nan])
    return keys[coded.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)]


def numbers_of(file: Path, name: str, values: pa.ChunkedArray) -> np.ndarray:
    """(rows,) float64: each row's number, NaN where it is null. Refused for what is no number, and if infinite."""
    kind = values.type
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise Refused(f"{file.name}: column {name!r} holds {kind}, no numbers: it cannot be dense")
    found = np.array(values.cast(pa.float64()).to_numpy(), np.float64)
    if count := int(np.isinf(found).sum()):
        raise Refused(f"{file.name}: column {name!r} holds {count} infinite number(s); write null where one is missing")
    return found


def times_of(file: Path, name: str, values: pa.ChunkedArray) -> np.ndarray:
    """(rows,) float64 or int64, later is larger. Refused where one is null, or no time."""
    kind = values.type
    if values.null_count:
        raise Refused(f"{file.name}: {values.null_count} of {len(values)} times in column {name!r} are null")
    if pa.types.is_date(kind):
        values = values.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    if not pa.types.is_integer(values.type) and not pa.types.is_floating(values.type):
        raise Refused(f"{file.name}: column {name!r} holds {kind}; a time is a number, a date or a timestamp")
    found = np.array(values.cast(pa.float64()).to_numpy(), np.float64)
    if count := int((~np.isfinite(found)).sum()):
        raise Refused(f"{file.name}: {count} of {len(found)} times in column {name!r} are no finite numbers")
    return found


def clicks_of(read: Sequence[tuple[Path, pa.ChunkedArray]], name: str) -> np.ndarray | None:
    """(rows,) int32 of 0 and 1; None where all are null or -1. Refused where some are, and on any other value."""
    parts = []
    for file, values in read:
        kind = values.type
        if pa.types.is_boolean(kind):
            values = values.cast(pa.int8())
        elif not pa.types.is_integer(kind) and not pa.types.is_floating(kind) and not pa.types.is_null(kind):
            raise Refused(f"{file.name}: column {name!r} holds {kind}; a click is 0 or 1")
        found = np.array(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
        wrong = np.unique(found[~np.isnan(found) & ~np.isin(found, (-1, 0, 1))])
        if len(wrong):
            some = ", ".join(f"{value:g}" for value in wrong[:5])
            raise Refused(
                f"{file.name}: column {name!r} holds {some}; a click is 0 or 1: write, say, whether a rating is 4 or "
                "more"
            )
        parts.append(found)
    found = np.concatenate(parts)
    if not len(found):
        raise Refused(f"{read[0][0].name} has no rows")
    unknown = np.isnan(found) | (found == -1)
    if unknown.all():
        return None
    if unknown.any():
        raise Refused(f"{unknown.sum()} of {len(found)} values in column {name!r} are null or -1; leave such rows out")
    return found.astype(np.int32)


def _texts(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _without_nan(values: pa.ChunkedArray) -> pa.ChunkedArray:
    numbers = np.array(values.to_numpy(), np.float64)
    return pa.chunked_array([pa.array(numbers, mask=np.isnan(numbers))])
