"""Columns of Parquet files: found by name, read whole or a batch at a time, every accident a sentence."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.data.sources.walk import shown

ROWS_AT_ONCE, BYTES_AT_ONCE = 2048, 256 << 20


def opened(file: Path) -> pq.ParquetFile:
    """The file; Refused where it is none."""
    if not file.is_file():  # a pipe would wait for ever
        why = "no regular file" if file.exists() else "a broken link, or gone"
        raise Refused(f"{shown(file)} is no whole Parquet file ({why}); fetch or write it again")
    try:
        return pq.ParquetFile(file)
    except UnicodeEncodeError as error:  # pyarrow takes no other name
        raise Refused(f"{shown(file)}: the file's name or a folder's is no UTF-8; rename it") from error
    except (pa.ArrowException, OSError) as error:
        raise Refused(
            f"{shown(file)} is no whole Parquet file ({_first_line(error)}); fetch or write it again"
        ) from error


def nearest_column(wanted: str | None, names: Sequence[str], known: Sequence[str], file: str, option: str) -> str:
    """The column `wanted`, or the first of the `known` names that is there; Refused with the nearest name if none."""
    for name in (wanted,) if wanted else known:
        if names.count(name) > 1:
            raise Refused(f"{file} has {names.count(name)} columns {name!r}; give each a name of its own")
        if name in names:
            return name
    folded = {name.lower(): name for name in reversed(names)}
    close = difflib.get_close_matches((wanted or known[0]).lower(), folded, 1)
    hint = f"; nearest: {folded[close[0]]!r}" if close else ""
    what = repr(wanted) if wanted else " or ".join(map(repr, known))
    raise Refused(f"{file} has no column {what}{hint} (columns: {', '.join(names)}); set {option}")


def read_column(file: Path, column: str, option: str) -> pa.ChunkedArray:
    """One whole column, without the wrappings that change no value (dictionaries, extension types)."""
    source = opened(file)
    nearest_column(column, source.schema_arrow.names, (), file.name, option)
    try:
        values = source.read([column])[column]
    except (pa.ArrowException, OSError, KeyError) as error:
        raise Refused(f"{shown(file)} is damaged ({_first_line(error)}); fetch or write it again") from error
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.cast(values.type.storage_type)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values


def cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | None:
    """The values in another type, or None where one of them has no place in it (0.5 among whole numbers)."""
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def read_batches(file: Path, column: str) -> Iterator[pa.Array]:
    """The column of one file, some thousand rows at a time, or fewer where images are large."""
    source = opened(file)
    size = sum(source.metadata.row_group(i).total_byte_size for i in range(source.num_row_groups))
    rows = BYTES_AT_ONCE * source.metadata.num_rows // max(size, 1)
    batches = source.iter_batches(max(1, min(ROWS_AT_ONCE, rows)), columns=[column])
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise Refused(f"{shown(file)} is damaged ({_first_line(error)}); fetch or write it again") from error
        if batch is None:
            return
        yield batch.column(0)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
