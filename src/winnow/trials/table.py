"""The trials table, one row a trial, as Arrow and Parquet: what every study ends as, and what benchmarks are."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from optuna.trial import FrozenTrial

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.trials.outcome import COMPLETE, PRUNED, Outcome
from winnow.trials.plan import Plan

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
        pa.field("state", pa.string(), nullable=False),  # complete, pruned or failed
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


def row(plan: Plan, trial: FrozenTrial, architecture: Architecture | None, outcome: Outcome, seed: int) -> Row:
    complete = outcome.state == COMPLETE
    objectives = dict(zip(plan.objectives, plan.values(outcome.metrics), strict=True)) if complete else {}
    if outcome.state == PRUNED and outcome.reports:
        objectives = dict(zip(plan.objectives, outcome.reports[max(outcome.reports)], strict=True))
    return Row(
        number=trial.number,
        architecture=None if architecture is None else architecture.to_json(),
        digest=None if architecture is None else architecture.digest,
        parameters=json.dumps(dict(sorted(trial.params.items()))),
        objectives=objectives,
        constraints=plan.excess(outcome.metrics) if complete else {},
        metrics=dict(outcome.metrics),
        state=outcome.state,
        copy_of=outcome.copy_of,
        seed=seed,
        fidelity=dict(plan.fidelity),
        seconds=outcome.seconds,
        device=outcome.device,
        error=outcome.error,
    )


def as_table(rows: Sequence[Row]) -> pa.Table:
    columns = {f.name: [getattr(each, f.name) for each in rows] for f in fields(Row)}
    arrays = [
        pa.array([list(value.items()) for value in columns[f.name]] if f.type == NUMBERS else columns[f.name], f.type)
        for f in SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def as_rows(table: pa.Table) -> list[Row]:
    return [Row(**{k: dict(v) if isinstance(v, list) else v for k, v in row.items()}) for row in table.to_pylist()]


def write_table(path: Path, table: pa.Table) -> None:
    """Whole or not at all. Growing tables are written anew each time: the storage is the record, this is its image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        pq.write_table(table, temporary, compression="zstd")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise Refused(f"{path} cannot be written: {error.strerror}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_table(path: Path) -> pa.Table:
    """Refused where `path` is no trials table."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError as error:
        raise Refused(f"no trials table {path}") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise Refused(f"{path} is no Parquet file: {error}") from error
    found = (table.schema.metadata or {}).get(b"format", b"none").decode()
    if found != FORMAT or table.schema.names != SCHEMA.names:
        raise Refused(f"{path} is no trials table of format {FORMAT} (its format: {found}): import it first")
    return table
