"""Splits decoded once: Parquet into files of plain rows, for columns that are too large to be held in memory.

A folder of decoded splits holds, for each, NAME.COLUMN.rows and NAME.json, which is written last. Its rows are shuffled
once, by the digest of the split, so that what lies together on disk has nothing in common: sources are often sorted by
class. Nothing in it is a result: what is missing or does not fit is decoded again.
"""

import errno
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.data.rows import RowFile, block_of, width_of
from winnow.data.schema import HASH_BYTES, ContentDigest, check_schema, columns_of, kinds_in
from winnow.data.storage import reading
from winnow.system import locks
from winnow.system.whole import atomic

FORMAT = 1


@dataclass(frozen=True)
class Limit:
    """Where splits are decoded to that are over `most` bytes in all, as arrays; `say` is told of it."""

    most: int
    folder: Path
    say: Callable[[str], None] = lambda text: None


def size_of(folder: Path, manifest: Mapping[str, Any], names: Sequence[str]) -> int:
    """Bytes of those of the columns `names` that hold more than a number a row, of all splits in `folder`, decoded."""
    widths = _large(_schema(folder / f"{next(iter(manifest['splits']))}.parquet"), names)
    return sum(about["rows"] for about in manifest["splits"].values()) * sum(widths.values())


def decoded(
    folder: Path, name: str, manifest: Mapping[str, Any], names: Sequence[str], limit: Limit
) -> tuple[dict[str, np.ndarray], dict[str, RowFile]]:
    """Split `name` of `folder`: columns that are held, and those of `names` that stay on disk, in one order of rows.

    Decoded to `limit.folder` where it is not there already, and checked against the manifest while it is. Refused where
    the split is missing, damaged or another than its manifest describes, and where nothing can be written.
    """
    source, expected = folder / f"{name}.parquet", manifest["splits"][name]
    schema = _schema(source)
    check_schema(schema, source.name)
    large = _large(schema, names)
    with _locked(limit.folder):
        about = _known(limit, name, source, expected)
        if about is None:
            about = _decode(source, name, expected, schema, large, limit)
    with reading(source):
        small = [key for key in kinds_in(schema) if key not in large]
        held = columns_of(pq.read_table(source.absolute(), columns=small))
    if _digest(held) != about["held"]:
        raise Refused(f"{source} has changed since it was decoded; run the prepare stage again")
    mark, order = limit.folder / f"{name}.json", _order(expected)
    files = {
        key: RowFile(_place(limit, name, key), expected["rows"], **told, spoilt=lambda: mark.unlink(missing_ok=True))
        for key, told in about["columns"].items()
    }
    return {key: values[order] for key, values in held.items()}, files


def _schema(path: Path) -> pa.Schema:
    with reading(path):
        return pq.read_schema(path.absolute())


def _large(schema: pa.Schema, names: Sequence[str]) -> dict[str, int]:
    """Bytes of a row of the columns that are large."""
    kinds = kinds_in(schema)
    return {name: width_of(kinds[name][1], kinds[name][0]) for name in names if kinds[name][1]}


def _place(limit: Limit, name: str, column: str) -> Path:
    return limit.folder / f"{name}.{column}.rows"


def _order(expected: Mapping[str, Any]) -> np.ndarray:
    """Which row of the split comes first, second, ... on disk."""
    return np.random.default_rng(int(expected["digest"], 16)).permutation(expected["rows"])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time decodes. Refused where the folder cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("a+b")
    except OSError as error:
        raise Refused(
            f"cannot write to {folder} ({os.strerror(error.errno or 0)}), where splits over data.memory_gib are decoded"
            ": make it writable, or raise data.memory_gib so that they are held in memory"
        ) from error
    with file:
        locks.take(file, wait=True)
        try:
            yield
        finally:
            locks.let_go(file)


def _known(limit: Limit, name: str, source: Path, expected: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is told of the split if it is decoded already, whole and of the same file; None where it is not."""
    try:
        about = json.loads((limit.folder / f"{name}.json").read_text(encoding="utf-8"))
        if about["format"] != FORMAT or about["digest"] != expected["digest"] or about["source"] != _stamp(source):
            return None
        columns = about["columns"]
        sizes = {key: expected["rows"] * width_of(told["shape"], told["dtype"]) for key, told in columns.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    for key, size in sizes.items():
        path = _place(limit, name, key)
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            limit.say(f"  {path} has {found} of {size} bytes: decoding split {name} again")
            return None
    return dict(about)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _digest(columns: Mapping[str, np.ndarray]) -> str:
    told = hashlib.blake2b(digest_size=HASH_BYTES)
    for name, values in sorted(columns.items()):
        told.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return told.hexdigest()


def _decode(
    source: Path, name: str, expected: Mapping[str, Any], schema: pa.Schema, large: Mapping[str, int], limit: Limit
) -> dict[str, Any]:
    """Write the rows of the large columns, checked as they come, and then what is told of them."""
    size, rows, kinds = expected["rows"] * sum(large.values()), expected["rows"], kinds_in(schema)
    limit.say(f"  decoding split {name} to {limit.folder}: {rows} rows, {size / 2**30:.2f} GiB, once")
    stamp, waiting = _stamp(source), {key: _place(limit, name, key).with_suffix(".part") for key in large}
    try:
        (limit.folder / f"{name}.json").unlink(missing_ok=True)
        with ExitStack() as stack:
            files = {key: stack.enter_context(path.open("w+b", buffering=0)) for key, path in waiting.items()}
            for key, file in files.items():
                _reserve(file, rows * large[key])
            held = _fill(source, expected, large, files)
            sums = {key: _sums(file, large[key], rows) for key, file in files.items()}
        columns = {
            key: {"shape": kinds[key][1], "dtype": kinds[key][0], "block": block_of(large[key]), "sums": sums[key]}
            for key in large
        }
        about = {"format": FORMAT, "digest": expected["digest"], "source": stamp, "held": held, "columns": columns}
        for key, path in waiting.items():
            os.replace(path, _place(limit, name, key))
        with atomic(limit.folder / f"{name}.json") as path:
            path.write_text(json.dumps(about), encoding="utf-8")
    except OSError as error:
        raise Refused(
            f"cannot decode split {name} ({size >> 20} MiB) to {limit.folder}: {os.strerror(error.errno or 0)}; free "
            "some space, or raise data.memory_gib so that splits are held in memory; nothing else was changed"
        ) from error
    finally:
        for path in waiting.values():
            path.unlink(missing_ok=True)
    return about


def _reserve(file: IO[bytes], size: int) -> None:
    """Have the room now rather than be refused it later; a file system that cannot promise it is taken at its word."""
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        os.truncate(file.fileno(), size)


def _fill(source: Path, expected: Mapping[str, Any], large: Mapping[str, int], files: Mapping[str, IO[bytes]]) -> str:
    """Each row of the large columns to its place; the digest of the others. Refused on another content."""
    place, done = np.argsort(_order(expected)), 0
    content: ContentDigest | None = None
    small: list[dict[str, np.ndarray]] = []
    for piece in _pieces(source):
        content = content or ContentDigest(piece.schema)
        content.update(piece)
        if done + len(piece) > len(place):
            break
        columns = columns_of(piece)
        for key, width in large.items():
            rows = memoryview(np.ascontiguousarray(columns.pop(key)).data).cast("B")
            for i, at in enumerate(place[done : done + len(piece)].tolist()):
                os.pwrite(files[key].fileno(), rows[i * width : (i + 1) * width], at * width)
        small.append({key: values.copy() for key, values in columns.items()})
        done += len(piece)
    if content is None or done != expected["rows"] or content.hexdigest() != expected["digest"]:
        raise Refused(f"{source} is not the file its manifest describes (other content); run the prepare stage again")
    return _digest({key: np.concatenate([each[key] for each in small]) for key in small[0]})


def _pieces(source: Path) -> Iterator[pa.Table]:
    """Row groups, about 64 MiB each: a reader of batches keeps all that it has read."""
    with reading(source), pq.ParquetFile(source.absolute()) as parquet:
        for group in range(parquet.num_row_groups):
            yield parquet.read_row_group(group)


def _sums(file: IO[bytes], width: int, rows: int) -> list[int]:
    """The CRC-32 of each block."""
    file.seek(0)
    size, total = block_of(width) * width, rows * width
    return [zlib.crc32(file.read(min(size, total - start))) for start in range(0, total, size)]
