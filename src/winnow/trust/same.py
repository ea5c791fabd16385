"""Is a file that was made again the file that was recorded?

`EXCEPTIONS` is the whole list of what docs/determinism.md does not promise: nothing else is ever left out.
"""

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.core.errors import Refused
from winnow.run.revision import md5_of

EQUAL, CONTENT, SKIPPED, ABSENT, DIFFERS = "bits equal", "content equal", "not compared", "reference absent", "differs"
FINE = (EQUAL, CONTENT, SKIPPED, ABSENT)


@dataclass(frozen=True)
class Exempt:
    """Files of which something is measured or new each time; `without` are the names left out, None the whole file."""

    files: str
    without: tuple[str, ...] | None
    why: str


LATENCY = (
    *("latency_ms", "latency_low", "latency_high", "latency_device", "latency_threads", "latency_load"),
    *("latency_one_thread_ms", "latency_one_thread_low", "latency_one_thread_high", "control_latency_ms"),
)
EXCEPTIONS = (
    Exempt("reports/evaluate.json", LATENCY, "measured time"),
    Exempt("artifacts/study.parquet", ("seconds",), "measured time"),
    Exempt("reports/study.csv", ("seconds",), "measured time"),
    Exempt("artifacts/*/trials.parquet", ("seconds", "device"), "measured time, and which worker was free"),
    Exempt("artifacts/runs/*.json", None, "ids of runs are new each time"),
    Exempt("reports/pareto.svg", None, "may show measured times; drawn from evaluate.json, which is compared"),
    Exempt("reports/report.html", None, "shows measured times and ids of runs; drawn from files that are compared"),
    Exempt("data/splits/*.parquet", (), "another version of the writer may lay out equal rows in other bytes"),
)


def exempt(name: str) -> Exempt | None:
    return next((each for each in EXCEPTIONS if fnmatch(name, each.files)), None)


def same(name: str, found: Path, md5: str, reference: Path | None) -> tuple[str, str]:
    """How `found` stands to the recorded output `name`, and a word on it.

    `md5` is the recorded one, `reference` the recorded file where it is still there.
    """
    if not found.exists():
        return DIFFERS, "was not written"
    if md5_of(found) == md5:
        return EQUAL, ""
    if found.is_dir():
        return _folder(name, found, reference)
    known = exempt(name)
    if known is None:
        return DIFFERS, ""
    if known.without is None:
        return SKIPPED, known.why
    if reference is None:
        return (ABSENT if known.without else DIFFERS), f"{known.why}; what was recorded is not here to compare with"
    read = READERS[found.suffix]
    equal = read(found, known.without) == read(reference, known.without)
    return (CONTENT, known.why) if equal else (DIFFERS, "")


def _folder(name: str, found: Path, reference: Path | None) -> tuple[str, str]:
    """A folder is as good as the worst of its files."""
    names = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    if reference is None:
        excused = [exempt(f"{name}/{each}") for each in names]
        return (ABSENT, "what was recorded is not here to compare with") if any(excused) else (DIFFERS, "")
    before = {path.relative_to(reference).as_posix() for path in reference.rglob("*") if path.is_file()}
    if names != before:
        return DIFFERS, f"other files: {', '.join(sorted(names ^ before)[:3])}"
    results = {each: same(f"{name}/{each}", found / each, md5_of(reference / each), reference / each) for each in names}
    wrong = sorted(each for each, (verdict, _) in results.items() if verdict == DIFFERS)
    return (DIFFERS, ", ".join(wrong)) if wrong else (CONTENT, "; ".join(sorted({w for _, w in results.values() if w})))


def _json(path: Path, without: tuple[str, ...]) -> Any:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return _left(dict(content.items()), without)
    except (ValueError, AttributeError) as error:
        raise Refused(f"{path} is not the JSON of a stage: check it out of git again") from error


def _left(content: Any, without: tuple[str, ...]) -> Any:
    """`content` without the names, at any depth."""
    if isinstance(content, dict):
        return {name: _left(value, without) for name, value in content.items() if name not in without}
    return [_left(value, without) for value in content] if isinstance(content, list) else content


def _lines(path: Path, without: tuple[str, ...]) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in without} for row in rows]


def _rows(path: Path, without: tuple[str, ...]) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path)
        return table.drop_columns([name for name in without if name in table.column_names]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is no whole Parquet file: get it again, as by `dvc checkout`") from error


READERS: dict[str, Callable[[Path, tuple[str, ...]], Any]] = {".json": _json, ".csv": _lines, ".parquet": _rows}
