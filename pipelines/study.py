"""Stage study: reads the splits; writes artifacts/study.parquet, reports/study.csv, reports/study.json and a picture.

Every combination of study.spaces, methods, selections and seeds. Supernets and selections are kept in .winnow/study by
a fingerprint of what they stand on, so that the same command goes on after a kill and computes nothing twice.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.pipelines import search
from winnow.pipelines import select as selecting
from winnow.stage import files
from winnow.stage.combinations import Cell, combinations, ranks, summary, verdict
from winnow.stage.draw import save
from winnow.stage.fingerprint import fingerprint
from winnow.stage.look.standings import standings
from winnow.stage.params import Params
from winnow.stage.report import collapsed
from winnow.stage.tracking import state_folder
from winnow.stage.work import Work, working

SPLITS = ("weights", "arch", "select")
TABLE, PICTURE = Path("artifacts/study.parquet"), Path("reports/study.svg")
INHERITED = "accuracy with inherited weights, percent"
SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("space", "method", "selection")],
        ("seed", pa.int64()),
        ("score", pa.float64()),
        ("architecture", pa.string()),
        ("digest", pa.string()),
        ("inherited_accuracy", pa.float64()),
        ("parameter_free", pa.float64()),
        ("collapse", pa.string()),
        ("params", pa.int64()),
        ("macs", pa.int64()),
        ("seconds", pa.float64()),  # of this cell alone; a supernet counts for the first selection on it
        ("table", pa.string()),  # JSON: the columns of the benchmark table, where one is given
    ]
)


def main(params: Params, folder: Path) -> None:
    cells, left_out = combinations(params, folder)
    score = params.study.column if params.select.table else INHERITED
    with working("study", params, folder, splits=SPLITS, upstream=("prepare",)) as work:
        for reason in left_out:
            work.say(f"  left out: {reason}")
        rows = []
        for number, cell in enumerate(cells):
            row = _cell(work, cell)
            rows.append(row)
            work.say(f"[{number + 1}/{len(cells)}] {cell.name}: {row['score']:.2f}")
            _tell(work, cell, row)
        _write(work, rows, score)


def _cell(work: Work, cell: Cell) -> dict[str, Any]:
    """The result of a cell: read where it was computed before."""
    splits = {name: read_manifest(work.folder / files.SPLITS)["splits"][name]["digest"] for name in SPLITS}
    basis = {name: cell.params.model_dump()[name] for name in ("seed", "data", "space", "search")}
    basis["runtime"] = cell.params.runtime.arithmetic()
    supernet = _place(work, "supernet", splits=splits, basis=basis)
    chosen = cell.params.model_dump()
    selection = _place(work, "select", splits=splits, basis={**basis, **{n: chosen[n] for n in ("select", "retrain")}})
    began = time.monotonic()
    if not (selection / "cell.json").is_file():
        if not (supernet / "done").is_file():
            search.main(cell.params, supernet)
            (supernet / "done").touch()
        artifacts = selection / files.SEARCH
        if not artifacts.is_symlink():
            artifacts.parent.mkdir(parents=True, exist_ok=True)
            artifacts.symlink_to(supernet / files.SEARCH, target_is_directory=True)
        selecting.main(cell.params, selection)
        collapse = files.read_json(supernet / files.REPORTS / "search.json", "search").get("collapse", "")
        result = _result(selection, collapse)
        files.write_json(selection / "cell.json", {**result, "seconds": time.monotonic() - began})
    row = files.read_json(selection / "cell.json", "study")
    table = json.loads(row["table"])
    column = cell.params.study.column
    if table and column not in table:
        raise Refused(f"study.column: the table has no column {column!r}; it has {', '.join(table)}")
    value = table[column] if table else row["inherited_accuracy"]
    if value is None:
        raise Refused(f"study: {cell.name} leaves no supernet to judge its find with: give select.table")
    return {
        "space": cell.space,
        "method": cell.method,
        "selection": cell.selection,
        "seed": cell.seed,
        "score": value,
        **row,
    }


def _place(work: Work, kind: str, **basis: Any) -> Path:
    """The folder of a cell, with the splits of the study in it."""
    place = state_folder(work.folder) / "study" / f"{kind}-{fingerprint(**basis)}"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "data").is_symlink():
        (place / "data").symlink_to((work.folder / "data").resolve(), target_is_directory=True)
    return place


def _result(folder: Path, collapse: str) -> dict[str, Any]:
    found = files.read_json(folder / files.SELECTIONS, "select")
    best = found["methods"][found["chosen"]]
    share = collapsed(best["choices"])
    return {
        "architecture": json.dumps(best["choices"]),
        "digest": best["digest"],
        "inherited_accuracy": best["inherited_accuracy"],
        "parameter_free": 0.0 if share is None else share,
        "collapse": collapse,
        "params": best["params"],
        "macs": best["macs"],
        "table": json.dumps(best["table"]),
    }


def _tell(work: Work, cell: Cell, row: dict[str, Any]) -> None:
    """The cell as a run below that of the study."""
    numbers = ("score", "inherited_accuracy", "parameter_free", "params", "macs", "seconds")
    work.run.child(
        cell.name,
        params={name: row[name] for name in ("space", "method", "selection", "seed", "digest")},
        metrics={name: row[name] for name in numbers if row[name] is not None},
        tags={"winnow.study": "methods", "winnow.collapse": row["collapse"]},
    )


def _write(work: Work, rows: list[dict[str, Any]], score: str) -> None:
    folder, table, told = work.folder, summary(rows), verdict(rows, score)
    mean_ranks, blocks, difference = ranks(rows)
    files.write_table(folder / TABLE, rows, SCHEMA)
    files.write_rows(folder / files.REPORTS / "study.csv", table)
    best = {f"{r['space']}, {r['method']}, {r['selection']}": {k: r[k] for k in ("mean", "sd", "n")} for r in table}
    files.write_json(folder / files.REPORTS / "study.json", {"score": score, "verdict": told, "cells": best})
    save(standings(rows, mean_ranks, blocks, difference, score), folder / PICTURE)
    for path in (TABLE, files.REPORTS / "study.csv", PICTURE):
        work.run.artifact(folder / path)
    plain = {re.sub(r"[^\w\-. :/]", "", name): value["mean"] for name, value in best.items()}  # what MLflow takes
    work.run.summary({f"score {name}": mean for name, mean in plain.items()}, told)
    for row in table:
        spread = f" ± {row['sd']:.2f}" if row["sd"] is not None else ""
        collapse = f", {row['collapsed']} collapsed" if row["collapsed"] else ""
        name = f"{row['space']}  {row['method']:<12} {row['selection']:<14}"
        work.say(f"  {name} {row['mean']:6.2f}{spread} (n = {row['n']}{collapse})")
    work.say(told)
    work.say(f"  wrote {TABLE}, {files.REPORTS / 'study.csv'} and {PICTURE}")


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("study")
