"""The trials table, one row a trial, as Arrow and Parquet: what every study ends as, and what benchmarks are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.system.whole import atomic
from winnow.trials.outcome import COMPLETE

FORMAT = "winnow.trials/1"
NUMBERS = pa.map_(pa.string(), pa.float64())

SCHEMA = pa.schema(
    [
        pa.field("number", pa.int64(), nullable=False),  # from 0, without gaps in a study
        pa.field("architecture", pa.string()),  # JSON, decisions by name; null where only hyper-parameters are tried
        pa.field("digest", pa.string()),  # twelve hexadecimal digits of the architecture
        pa.field("parameters", pa.string(), nullable=False),  # JSON: what the sampler suggested, by name
        pa.field("objectives", NUMBERS, nullable=False),  # by metric; empty where the trial gave none
        pa.field("constraints", NUMBERS, nullable=False),  # how far each limit is passed: met at 0 or less
        pa.field("metrics", NUMBERS, nullable=False),  # all that the evaluator returned
        pa.field("state", pa.string(), nullable=False),  # complete, pruned (ended early or never worth it) or failed
        pa.field("copy_of", pa.int64()),  # the trial whose result a repeated architecture took over
        pa.field("seed", pa.int64(), nullable=False),  # of the trial: sampling and evaluation
        pa.field("fidelity", NUMBERS, nullable=False),  # what the evaluation was shortened to: {"epochs": 12}
        pa.field("seconds", pa.float64(), nullable=False),  # of the evaluation
        pa.field("device", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),  # one line where it failed
    ],
    metadata={"format": FORMAT},
)


@dataclass(frozen=True)
class Row:
    """One trial; the fields are the columns of `SCHEMA`."""

    number: int
    architecture: str | None
    digest: str | None
    parameters: str
    objectives: Mapping[str, float]
    constraints: Mapping[str, float]
    metrics: Mapping[str, float]
    state: str
    copy_of: int | None
    seed: int
    fidelity: Mapping[str, float]
    seconds: float
    device: str
    error: str

    @property
    def feasible(self) -> bool:
        """Complete, and within every limit."""
        return self.state == COMPLETE and all(excess <= 0 for excess in self.constraints.values())


def as_table(rows: Sequence[Row]) -> pa.Table:
    columns = {f.name: [getattr(each, f.name) for each in rows] for f in fields(Row)}
    arrays = [
        pa.array([list(value.items()) for value in columns[f.name]] if f.type == NUMBERS else columns[f.name], f.type)
        for f in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def as_rows(table: pa.Table) -> list[Row]:
    def row_of(given: dict[str, Any]) -> Row:
        columns: dict[str, Any] = {k: dict(v) if isinstance(v, list) else v for k, v in given.items()}
        return Row(**columns)

    return [row_of(given) for given in table.to_pylist()]


def write_table(path: Path, table: pa.Table) -> None:
    """Whole or not at all. Growing tables are written anew each time: the storage is the record, this is its image."""
    try:
        with atomic(path.absolute()) as temporary:  # to Arrow a relative path with a colon is an address
            pq.write_table(table, temporary, compression="zstd")
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror or error}") from error


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All `columns`, or those. Refused where `path` is no trials table."""
    try:
        with pq.ParquetFile(path) as file:  # read_table() would load a hundred megabytes of what is not needed
            schema = file.schema_arrow
            found = (schema.metadata or {}).get(b"format", b"none").decode()
            if found != FORMAT or schema.names != SCHEMA.names:
                raise Refused(f"{path} is no trials table of format {FORMAT} (its format: {found}): import it first")
            return file.read(columns, use_threads=False)
    except FileNotFoundError as error:
        raise Refused(f"no trials table {path}: a study or `winnow table import` writes one") from error
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is no whole Parquet file: {str(error).splitlines()[0]}") from error
