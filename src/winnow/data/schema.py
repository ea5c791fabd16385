"""What a split file holds: decoded pixels, labels, where each row came from, and a digest that survives upgrades.

A Parquet file's bytes change with the writer's version and settings; `content_digest` reads only what the columns
say, so equal data has equal digests for as long as the format version stands.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused

SPLITS = ("weights", "arch", "select", "test")
FORMAT = 1  # raised when the columns or their meaning change
HASH_BYTES = 16


def split_schema(shape: Sequence[int], classes: Sequence[str]) -> pa.Schema:
    """The schema of a split whose images have `shape` (channels, height, width) and whose labels index `classes`.

    `row` counts from 0 inside `source`, which is "train" or "test": the part of the data set the image came from.
    """
    fields = [
        pa.field("image", pa.binary(math.prod(shape)), nullable=False),  # uint8, (channels, height, width) order
        pa.field("label", pa.int32(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("hash", pa.binary(HASH_BYTES), nullable=False),  # of the pixels
    ]
    metadata = {
        "winnow.format": str(FORMAT),
        "winnow.shape": json.dumps(list(shape)),
        "winnow.classes": json.dumps(list(classes)),
    }
    return pa.schema(fields, metadata)


def shape_of(schema: pa.Schema) -> tuple[int, ...]:
    """(channels, height, width) as the schema's metadata has it."""
    return _listed(schema, "winnow.shape", lambda size: type(size) is int and 0 < size < 2**15)


def classes_of(schema: pa.Schema) -> tuple[str, ...]:
    """The class names as the schema's metadata has them; a label is an index into them."""
    return _listed(schema, "winnow.classes", lambda name: isinstance(name, str))


def _listed(schema: pa.Schema, key: str, right: Callable[[object], bool]) -> tuple:
    """A list in the metadata. Refused where it is none, or something in it is not `right`."""
    try:
        values = json.loads((schema.metadata or {})[key.encode()])
    except (ValueError, KeyError, RecursionError) as error:
        raise Refused(f"the metadata {key!r} of a split is damaged; run the prepare stage again") from error
    if not isinstance(values, list) or not all(map(right, values)):
        raise Refused(f"the metadata {key!r} of a split is damaged; run the prepare stage again")
    return tuple(values)


def fixed_binary(rows: np.ndarray) -> pa.FixedSizeBinaryArray:
    """An array (n, ...) of bytes as n fixed-size binary values, without a copy where it is contiguous."""
    rows = np.ascontiguousarray(rows)
    width = math.prod(rows.shape[1:])
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(rows), [None, pa.py_buffer(rows)])


def fixed_numpy(column: pa.ChunkedArray) -> np.ndarray:
    """The values of a fixed-size binary column as a read-only uint8 array (n, width); a copy only if chunked."""
    width = column.type.byte_width
    chunks = [_chunk_bytes(chunk) for chunk in column.chunks]
    flat = chunks[0] if len(chunks) == 1 else np.concatenate([np.empty(0, np.uint8), *chunks])
    return flat.reshape(-1, width)


def pixel_hashes(images: np.ndarray) -> np.ndarray:
    """(n, 16) uint8: the BLAKE2b hash of each image's pixels; equal images, equal hashes."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    digests = b"".join(hashlib.blake2b(row, digest_size=HASH_BYTES).digest() for row in flat)
    return np.frombuffer(digests, np.uint8).reshape(-1, HASH_BYTES)


def check_schema(schema: pa.Schema, name: str) -> None:
    """Refuse, in the name of the file `name`, a schema that is not that of a split."""
    metadata = schema.metadata or {}
    if metadata.get(b"winnow.format") != str(FORMAT).encode():
        found = metadata.get(b"winnow.format", b"none").decode(errors="replace")
        raise Refused(f"{name} is not a split of format {FORMAT} (format found: {found}); run the prepare stage again")
    expected = split_schema(shape_of(schema), classes_of(schema))
    for field in expected:
        found = schema.field(field.name).type if field.name in schema.names else "nothing"
        if found != field.type:
            raise Refused(f"{name}: column {field.name!r} must be {field.type}, found {found}; run prepare again")


def content_digest(table: pa.Table) -> str:
    """32 hex digits of the schema and the values, row by row in the table's order (it decides the batches).

    The same for any chunking, compression, encoding or pyarrow version. Raises Refused on a null.
    """
    whole = hashlib.blake2b(digest_size=HASH_BYTES)
    for key, value in sorted((table.schema.metadata or {}).items()):
        if key.startswith(b"winnow."):
            whole.update(_framed(key) + _framed(value))
    for field in table.schema:
        column = table[field.name]
        if column.null_count:
            raise Refused(f"column {field.name!r} has {column.null_count} null values; a split has none")
        whole.update(_framed(field.name.encode()) + _column_digest(column))
    return whole.hexdigest()


def _column_digest(column: pa.ChunkedArray) -> bytes:
    kind, digest = column.type, hashlib.blake2b(digest_size=HASH_BYTES)
    if pa.types.is_fixed_size_binary(kind):
        digest.update(f"bytes[{kind.byte_width}]".encode())
        for chunk in column.chunks:
            digest.update(_chunk_bytes(chunk))
    elif pa.types.is_integer(kind):
        digest.update(f"int[{kind.bit_width}]".encode())
        for chunk in column.chunks:
            digest.update(chunk.to_numpy().astype("<i8", copy=False))
    else:
        digest.update(b"text")
        for chunk in column.chunks:
            digest.update(b"".join(_framed(value.encode()) for value in chunk.to_pylist()))
    return digest.digest()


def _framed(value: bytes) -> bytes:
    """The value after its length, so that no two sequences of values read the same."""
    return len(value).to_bytes(8, "little") + value


def _chunk_bytes(chunk: pa.FixedSizeBinaryArray) -> np.ndarray:
    width = chunk.type.byte_width
    return np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * width : (chunk.offset + len(chunk)) * width]
