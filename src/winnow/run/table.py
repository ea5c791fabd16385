"""What a NAS-Bench-201 cell is worth: accuracies of a benchmark table in Parquet."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.spaces.nas_bench_201 import to_string


def columns(path: Path) -> list[str]:
    """The columns that can be a score. Refused where there is no such table."""
    with _readable(path):
        return [field.name for field in pq.read_schema(path) if pa.types.is_floating(field.type)]


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Refused(f"select.table: no file {path}") from error
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"select.table: {path} is not Parquet ({str(error).splitlines()[0]})") from error


def true_accuracy(path: Path, arch: Architecture) -> dict[str, float]:
    """Every numeric column of the row whose `arch_str` is this cell, and as `<column>_beats` the percentage of the
    table's cells that are below it. Refused where there is no such table or row.
    """
    with _readable(path):
        table = pq.read_table(path)
    if "arch_str" not in table.column_names:
        raise Refused(f"select.table: {path} has no column arch_str; it has {', '.join(table.column_names)}")
    rows = table.filter(pc.equal(table["arch_str"], to_string(arch)))
    if len(rows) != 1:
        raise Refused(f"select.table: {path} has {len(rows)} rows for {to_string(arch)}; it takes one a cell")
    told = {}
    for name in [field.name for field in rows.schema if pa.types.is_floating(field.type)]:
        told[name] = float(rows[name][0].as_py())
        told[f"{name}_beats"] = 100 * pc.sum(pc.less(table[name], told[name])).as_py() / len(table)
    return told
