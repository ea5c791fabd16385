"""What a split file holds: the columns of its source, where each row came from, and a digest that survives upgrades.

A Parquet file's bytes change with the writer's version and settings; `content_digest` reads only what the columns
say, so equal data has equal digests for as long as the format version stands.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.source import Columns

SPLITS = ("weights", "arch", "select", "test")
FORMAT = 2  # raised when the columns or their meaning change
HASH_BYTES = 16
Kind = tuple[str, tuple[int, ...]]  # dtype, as numpy names it, and the shape of one row


def kinds_of(columns: Columns) -> dict[str, Kind]:
    """What each column holds."""
    return {name: (values.dtype.name, values.shape[1:]) for name, values in columns.items()}


def split_schema(kinds: Mapping[str, Kind], facts: Mapping[str, Any]) -> pa.Schema:
    """The schema of a split with these columns; `facts` are those of its source.

    `row` counts from 0 inside `source`, which is "train" or "test": the part of the data set the row came from.
    """
    fields = [
        *(pa.field(name, _arrow_type(kind), nullable=False) for name, kind in kinds.items()),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("hash", pa.binary(HASH_BYTES), nullable=False),  # of the columns that a network is given
    ]
    metadata = {
        "winnow.format": str(FORMAT),
        "winnow.columns": json.dumps({name: [dtype, list(shape)] for name, (dtype, shape) in kinds.items()}),
        "winnow.facts": json.dumps(facts, sort_keys=True),
    }
    return pa.schema(fields, metadata)


def stored(values: np.ndarray) -> pa.Array:
    """A column (n, ...) as Arrow has it: numbers where a row is one, else the bytes of each row, without a copy."""
    return pa.array(values) if values.ndim == 1 else fixed_binary(values)


def columns_of(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns of a split that are in `table`, as its source gave them; read-only where nothing had to be copied."""
    found = {}
    for name, (dtype, shape) in kinds_in(table.schema).items():
        if name not in table.column_names:
            continue
        column = table[name]
        if shape:
            found[name] = fixed_numpy(column).view(np.dtype(dtype).newbyteorder("<")).reshape(-1, *shape)
        else:
            found[name] = column.to_numpy()
    return found


def _arrow_type(kind: Kind) -> pa.DataType:
    dtype, shape = np.dtype(kind[0]), kind[1]
    return pa.binary(dtype.itemsize * math.prod(shape)) if shape else pa.from_numpy_dtype(dtype)


def kinds_in(schema: pa.Schema) -> dict[str, Kind]:
    """What the schema's metadata say of the columns. Refused where that is damaged."""
    try:
        told = json.loads((schema.metadata or {})[b"winnow.columns"])
        kinds = {name: (np.dtype(dtype).name, tuple(shape)) for name, (dtype, shape) in told.items()}
        sound = all(np.dtype(dtype).kind in "iuf" for dtype, _ in kinds.values()) and all(
            type(size) is int and 0 < size < 2**31 for _, shape in kinds.values() for size in shape
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("the metadata 'winnow.columns' of a split is damaged; run the prepare stage again") from error
    if not sound or not kinds or any(math.prod(shape) >= 2**31 for _, shape in kinds.values()):
        raise Refused("the metadata 'winnow.columns' of a split is damaged; run the prepare stage again")
    return kinds


def fixed_binary(rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """An array (n, ...) as n fixed-size binary values, without a copy where it is contiguous."""
    rows = np.ascontiguousarray(rows)
    width = math.prod(rows.shape[1:]) * rows.itemsize
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(rows)])


def fixed_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """The values of a fixed-size binary column as a read-only uint8 array (n, width); a copy only if chunked."""
    width = column.type.byte_width
    chunks = [_chunk_bytes(chunk) for chunk in column.chunks]
    flat = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.uint8), *chunks])
    return flat.reshape(-1, width)


def row_hashes(columns: Columns, names: Sequence[str]) -> np.ndarray:
    """(n, 16) uint8: the BLAKE2b hash of each row in the columns `names`; equal rows, equal hashes."""
    flat = [np.ascontiguousarray(columns[name]).reshape(len(columns[name]), -1).view(np.uint8) for name in names]
    digests = []
    for row in zip(*flat, strict=True):
        whole = hashlib.blake2b(digest_size=HASH_BYTES)
        for values in row:
            whole.update(values)
        digests.append(whole.digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, HASH_BYTES)


def check_schema(schema: pa.Schema, name: str) -> None:
    """Refuse, in the name of the file `name`, a schema that is not that of a split."""
    metadata = schema.metadata or {}
    if metadata.get(b"winnow.format") == b"1":
        raise Refused(f"{name} is a split of format 1, of an older winnow: run `winnow prepare` again")
    if metadata.get(b"winnow.format") != str(FORMAT).encode():
        found = metadata.get(b"winnow.format", b"none").decode(errors="replace")
        raise Refused(f"{name} is not a split of format {FORMAT} (format found: {found}); run the prepare stage again")
    expected = split_schema(kinds_in(schema), {})
    for field in expected:
        found = schema.field(field.name).type if field.name in schema.names else "nothing"
        if found != field.type:
            raise Refused(f"{name}: column {field.name!r} must be {field.type}, found {found}; run prepare again")


def content_digest(table: pa.Table) -> str:
    """32 hex digits of the schema and the values, row by row in the table's order (it decides the batches).

    The same for any chunking, compression, encoding or pyarrow version. Raises Refused on a null.
    """
    whole = ContentDigest(table.schema)
    whole.update(table)
    return whole.hexdigest()


class ContentDigest:
    """The same of a table that comes in pieces, one after another."""

    def __init__(self, schema: pa.Schema):
        self.whole = hashlib.blake2b(digest_size=HASH_BYTES)
        for key, value in sorted((schema.metadata or {}).items()):
            if key.startswith(b"winnow."):
                self.whole.update(_framed(key) + _framed(value))
        self.columns = {field.name: hashlib.blake2b(_named(field.type), digest_size=HASH_BYTES) for field in schema}

    def update(self, piece: pa.Table) -> None:
        for name, digest in self.columns.items():
            column = piece[name]
            if column.null_count:
                raise Refused(f"column {name!r} has {column.null_count} null values; a split has none")
            for chunk in column.chunks:
                _digested(chunk, digest)

    def hexdigest(self) -> str:
        whole = self.whole.copy()
        for name, digest in self.columns.items():
            whole.update(_framed(name.encode()) + digest.digest())
        return whole.hexdigest()


def _named(kind: pa.DataType) -> bytes:
    if pa.types.is_fixed_size_binary(kind):
        return f"bytes[{kind.byte_width}]".encode()
    if pa.types.is_integer(kind):
        return f"int[{kind.bit_width}]".encode()
    return f"float[{kind.bit_width}]".encode() if pa.types.is_floating(kind) else b"text"


def _digested(chunk: pa.Array, digest: Any) -> None:
    if pa.types.is_fixed_size_binary(chunk.type):
        digest.update(_chunk_bytes(chunk).data)
    elif pa.types.is_integer(chunk.type):
        digest.update(chunk.to_numpy().astype("<i8", copy=False))
    elif pa.types.is_floating(chunk.type):
        digest.update(np.ascontiguousarray(chunk.to_numpy(zero_copy_only=False)).data)
    else:
        digest.update(b"".join(_framed(value.encode()) for value in chunk.to_pylist()))


def _framed(value: bytes) -> bytes:
    """The value after its length, so that no two sequences of values read the same."""
    return len(value).to_bytes(8, "little") + value


def _chunk_bytes(chunk: pa.FixedSizeBinaryArray) -> np.ndarray:
    width = chunk.type.byte_width
    return np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
