"""Published benchmarks become trials tables of ours: read, checked, and written with where their numbers are from."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import SCHEMA, Row, as_table, write_table

PER_DEVICE = {"ms_": "latency_ms", "ips_": "images_per_second"}  # a column ms_raspi4 becomes latency_ms/raspi4
UNSUPPORTED = -1.0  # what HW-NAS-Bench writes where a device cannot run a network


@dataclass(frozen=True)
class Entry:
    """A result of one network: its metrics by name, and which of several trainings of it this is."""

    architecture: Architecture
    metrics: Mapping[str, float]
    fidelity: Mapping[str, float] = field(default_factory=dict)
    training: int = 0


@dataclass(frozen=True)
class Contents:
    """What a file says: results of networks of one space. `remarks` are sentences on what was left out."""

    space: str
    entries: Sequence[Entry]
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Source:
    """Where a table's numbers are from, as the table keeps it."""

    benchmark: str
    space: str
    file: str
    sha256: str
    licence: str
    origin: str


@dataclass(frozen=True)
class Published:
    """Who published a benchmark, and under what licence."""

    licence: str
    origin: str


@dataclass(frozen=True)
class Benchmark(Published):
    """`read(path, space)` reads a file of it; `space` says which, where a file holds several."""

    read: Callable[[Path, str | None], Contents]


def import_benchmark(
    name: str, benchmark: Benchmark, paths: Sequence[Path], out: Path, space: str | None = None
) -> tuple[int, list[str]]:
    """Write one trials table from files of a benchmark; how many rows it has, and what is to say of them.

    Refused where a file is none of the benchmark, files are of two spaces, or say different things of one training.
    """
    read = {path: benchmark.read(path, space) for path in paths}
    (first, of), *others = read.items()
    for path, contents in others:
        if contents.space != of.space:
            raise Refused(
                f"{first} is of {of.space} and {path} of {contents.space}: a table has one space, so import each alone"
            )
    entries, twice = _each_once([(path, each) for path, contents in read.items() for each in contents.entries])
    remarks = [remark for contents in read.values() for remark in contents.remarks]
    if twice:
        remarks.append(f"{twice:,} rows say again what another says, and are there once")
    sources = [source_of(name, benchmark, of.space, path) for path in paths]
    write_table(out, signed(as_table([_row(n, each, of.space) for n, each in enumerate(entries)]), sources))
    return len(entries), remarks


def source_of(name: str, benchmark: Published, space: str, path: Path) -> Source:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(name, space, path.name, digest, benchmark.licence, benchmark.origin)


def signed(table: pa.Table, sources: Iterable[Source]) -> pa.Table:
    """With where its numbers are from, as JSON in the schema's metadata."""
    kept = json.dumps([asdict(each) for each in sources])
    return table.replace_schema_metadata({**(SCHEMA.metadata or {}), b"sources": kept.encode()})


def sources_of(path: Path) -> list[Source]:
    """Where the numbers of a table are from; none where a study wrote it."""
    metadata = pq.read_schema(path).metadata or {}
    return [Source(**each) for each in json.loads(metadata.get(b"sources", b"[]"))]


def rows_of(path: Path, needed: Sequence[str]) -> pa.Table:
    """A Parquet file. Refused where it is none, or lacks a column that is `needed`."""
    try:
        given = pq.read_table(path)
    except FileNotFoundError as error:
        raise Refused(f"no file {path}") from error
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from error
    if not len(given):
        raise Refused(f"{path} has no rows")
    check_columns(path, given.column_names, needed)
    return given


def check_columns(path: Path, given: Sequence[str], needed: Sequence[str]) -> None:
    missing = next((name for name in needed if name not in given), None)
    if missing is not None:
        raise Refused(f"{path} has no column {missing!r}, only {', '.join(given)}")


def numbers(path: Path, given: pa.Table, name: str, least: float, most: float = np.inf) -> np.ndarray:
    """A column as float64, nan where it has none. Refused where one is beyond `least` to `most`, or no number."""
    try:
        values = given[name].to_numpy(zero_copy_only=False).astype(float)
    except (TypeError, ValueError) as error:
        raise Refused(f"{path}: {name} takes numbers, not {given[name].type}") from error
    known = values[~np.isnan(values)]
    if len(known) and not (known.min() >= least and known.max() <= most and np.isfinite(known).all()):
        limits = f"{least:g} to {most:g}" if np.isfinite(most) else f"numbers of {least:g} or more"
        raise Refused(f"{path}: {name} takes {limits}, not {known.min():g} to {known.max():g}")
    return values


def per_cent(path: Path, given: pa.Table, name: str) -> np.ndarray:
    values = numbers(path, given, name, 0, 100)
    if not np.nanmax(values, initial=100.0 if np.isnan(values).all() else 0.0) > 1.5:
        raise Refused(f"{path}: {name} takes per cent from 0 to 100, and goes no further than {np.nanmax(values):g}")
    return values


def per_device(path: Path, given: pa.Table) -> dict[str, np.ndarray]:
    """The columns ms_<device> and ips_<device>, by metric: latency_ms/<device>, images_per_second/<device>."""
    found = {}
    for name in given.column_names:
        for prefix, metric in PER_DEVICE.items():
            if name.startswith(prefix):
                values = numbers(path, given, name, UNSUPPORTED)
                found[f"{metric}/{name.removeprefix(prefix)}"] = np.where(values == UNSUPPORTED, np.nan, values)
                if (values <= 0).any() and not (values[values <= 0] == UNSUPPORTED).all():
                    raise Refused(f"{path}: {name} takes more than 0, and -1 where a device cannot run a network")
    return found


def by_row(columns: Mapping[str, np.ndarray]) -> list[dict[str, float]]:
    """The metrics of each row, without those it has none of."""
    listed = {name: values.tolist() for name, values in columns.items()}
    size = len(next(iter(listed.values())))
    return [{name: v[i] for name, v in listed.items() if v[i] == v[i]} for i in range(size)]


def left_out(path: Path, names: Iterable[str], benchmark: str) -> list[str]:
    told = ", ".join(names)
    return [f"left out, as no results of {benchmark}: {told} of {path.name}"] if told else []


def _each_once(found: Sequence[tuple[Path, Entry]]) -> tuple[list[Entry], int]:
    """One entry a training, and how many said the same again. Refused where two differ."""
    kept: dict[tuple, tuple[Path, Entry]] = {}
    for path, each in found:
        key = each.architecture, tuple(sorted(each.fidelity.items())), each.training
        before, known = kept.setdefault(key, (path, each))
        if known.metrics != each.metrics:
            names = {*known.metrics, *each.metrics}
            odd = min(name for name in names if known.metrics.get(name) != each.metrics.get(name))
            one, other = (f"{entry.metrics.get(odd, 'none')}" for entry in (known, each))
            where = f"{path}" if path == before else f"{before} and {path}"
            raise Refused(
                f"{where}: two rows are of {each.architecture.to_json()}, with {odd} {one} and {other}: leave one out"
            )
    return [each for _, each in kept.values()], len(found) - len(kept)


def _row(number: int, each: Entry, space: str) -> Row:
    text = each.architecture.to_json()
    return Row(
        number=number,
        architecture=text,
        digest=each.architecture.digest,
        parameters=text,
        objectives={},
        constraints={},
        metrics=each.metrics,
        state=COMPLETE,
        copy_of=None,
        seed=each.training,
        fidelity=each.fidelity,
        seconds=0.0,
        device=space,
        error="",
    )
