"""Stage study: reads the splits; writes artifacts/study.parquet, reports/study.csv, reports/study.json,
reports/study.svg, and reports/study.html, the page that holds all of it side by side.

Every combination of study.spaces, methods, selections and seeds. Supernets and selections are kept in .winnow/study by
a fingerprint of what they stand on, so that the same command goes on after a kill and computes nothing twice. A cell
that fails does so alone.
"""

import math
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from winnow.config.params import Params
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.look.standings import standings
from winnow.pipelines import search, select
from winnow.run import files
from winnow.run.by_workers import in_worker
from winnow.run.cells import cells_in_worker, rows_of
from winnow.run.combinations import INHERITED, TRAINED, Cell, check_columns, combinations, counted
from winnow.run.combinations import TABLE as TABLE_OF
from winnow.run.comparisons import ANY, baseline_of, gains, leaders, power, ranks, summary, verdict
from winnow.run.draw import save
from winnow.run.progress import duration
from winnow.run.study_cell import SPLITS, is_there
from winnow.run.study_page import Study, study_page
from winnow.run.work import Work, final_space, working
from winnow.tracking import Run
from winnow.trials.outcome import Evaluate, Job

TABLE, PICTURE, PAGE = Path("artifacts/study.parquet"), Path("reports/study.svg"), Path("reports/study.html")
SCHEMA = pa.schema(
    [
        *[(name, pa.string()) for name in ("space", "method", "selection")],
        ("seed", pa.int64()),
        ("score", pa.float64()),  # null where the cell failed
        ("unit", pa.string()),  # of the score; two units do not compare
        ("architecture", pa.string()),
        ("digest", pa.string()),
        ("inherited_accuracy", pa.float64()),
        ("parameter_free", pa.float64()),
        ("collapse", pa.string()),
        ("params", pa.int64()),
        ("macs", pa.int64()),
        ("seconds", pa.float64()),  # of this cell alone; a supernet counts for the first selection on it
        ("table", pa.string()),  # JSON: the columns of the benchmark table, where one is given
        ("error", pa.string()),  # why the cell failed
    ]
)


def main(params: Params, folder: Path) -> None:
    cells, left_out = combinations(params, folder)
    check_columns(cells)
    with working("study", params, folder, splits=SPLITS, upstream=("prepare",)) as work:
        for reason in left_out:
            work.say(f"  left out: {reason}")
        for sentence in power(*counted(cells)):
            work.say(f"  {sentence}")
        rows = _all(work, cells)
        _write(work, rows, cells)
        if failed := [row for row in rows if row["error"]]:
            raise Refused(
                f"{len(failed)} of {len(rows)} cells failed, first {_name(failed[0])}: {failed[0]['error']}; all "
                "others are in the table, and the same command tries these again"
            )


def _all(work: Work, cells: list[Cell]) -> list[dict[str, Any]]:
    """The rows of all cells, told one by one with the time that is left, from those computed now."""
    before = [is_there(work.folder, cell) for cell in cells]
    there = sum(before)
    if there:
        work.say(f"  {there} of {len(cells)} cells are there from before")
    rows, began, computed = dict[int, dict[str, Any]](), time.monotonic(), 0
    for number, (place, row) in enumerate(rows_of(work, cells, search.main, select.main), 1):
        rows[place], cell, new = row, cells[place], not before[place]
        computed += new
        left = ""
        if new and number < len(cells):
            seconds = (time.monotonic() - began) / computed * (len(cells) - there - computed)
            left = f" (about {duration(max(seconds, 0))} left)"
        told = f"failed: {row['error']}" if row["error"] else f"{row['score']:.2f}"
        work.say(f"[{number}/{len(cells)}] {cell.name}: {told}{left}")
        _tell(work, cell, row)
    return [rows[place] for place in range(len(cells))]


def worker(folder: str, params: dict[str, Any], device: str) -> Evaluate:
    """What a worker makes once: computes cells, here as well as for stage evaluate."""

    def compute(checked: Params, place: Path, job: Job) -> None:
        work = Work("study", checked, place, torch.device(device), Run("study", None))
        cells_in_worker(work, job, search.main, select.main)

    return in_worker(compute, folder, params)


def _tell(work: Work, cell: Cell, row: dict[str, Any]) -> None:
    """The cell as a run below that of the study."""
    numbers = ("score", "inherited_accuracy", "parameter_free", "params", "macs", "seconds")
    work.run.child(
        cell.name,
        params={name: row[name] for name in ("space", "method", "selection", "seed", "digest", "unit")},
        metrics={name: row[name] for name in numbers if row[name] is not None},
        tags={"winnow.study": "methods", "winnow.collapse": row["collapse"], "winnow.error": row["error"]},
    )


def _write(work: Work, rows: list[dict[str, Any]], cells: list[Cell]) -> None:
    folder, table = work.folder, summary(rows)
    baseline = baseline_of(rows, work.params.study.baseline)
    told, compared = verdict(rows, baseline), gains(rows, baseline)
    mean_ranks, blocks, difference = ranks(rows)
    files.write_table(folder / TABLE, rows, SCHEMA)
    files.write_rows(folder / files.REPORTS / "study.csv", table)
    scores = {f"{r['space']}, {r['method']}, {r['selection']}": {k: r[k] for k in ("mean", "sd", "n")} for r in table}
    content = {
        "units": {row["space"]: row["unit"] for row in table},
        "verdict": told,
        "baseline": ", ".join(baseline),
        "cells": scores,
        "gains": [{**asdict(gain), "over": ", ".join(gain.over)} for gain in compared],
        "ranks": mean_ranks,
        "rank_blocks": blocks,
        "critical_difference": difference if math.isfinite(difference) else None,
        "failed": {_name(row): row["error"] for row in rows if row["error"]},
    }
    files.write_json(folder / files.REPORTS / "study.json", content)
    save(standings(rows, mean_ranks, blocks, difference), folder / PICTURE)
    ranked, space = (mean_ranks, blocks, difference), decisions_of(cells, folder)
    by_table = any(cell.judged_by == TABLE_OF for cell in cells)  # whose columns may have any unit
    bounds = ANY if by_table else (work.task.first.low, work.task.first.high)
    shown = Study(rows, table, compared, leaders(rows), baseline, ranked, space, notes(cells), bounds)
    files.write_text(folder / PAGE, study_page(shown))
    for path in (TABLE, files.REPORTS / "study.csv", files.REPORTS / "study.json", PICTURE, PAGE):
        work.run.artifact(folder / path)
    plain = {re.sub(r"[^\w\-. :/]", "", name): value["mean"] for name, value in scores.items()}  # what MLflow takes
    work.run.summary({f"score {name}": mean for name, mean in plain.items() if mean is not None}, told)
    for row in table:
        work.say(f"  {_line(row)}")
    work.say(told)
    work.say(f"  wrote {TABLE}, {files.REPORTS / 'study.csv'} and {PAGE}")


def decisions_of(cells: list[Cell], folder: Path) -> dict[str, dict[str, Decision]]:
    """Of each space, by which what was found in it is drawn."""
    params = {cell.space: cell.params for cell in cells}
    return {space: dict(final_space(each, folder).whole) for space, each in params.items()}


def notes(cells: list[Cell]) -> list[str]:
    """What is to be known of the scores, beside their unit."""
    if all(cell.judged_by == TRAINED for cell in cells):
        looked = any("select" in cell.params.select.splits for cell in cells)
        apart = (
            "; selections looked at it too, so that all scores are a little high: select.splits: [arch] keeps it apart"
        )
        return [
            f"Every find was trained alone, by retrain's recipe, and judged on split select{apart if looked else ''}."
        ]
    if any(cell.judged_by == INHERITED for cell in cells):
        return ["Inherited weights say more of a supernet than of a network: methods do not compare by them alone."]
    return []


def _name(row: dict[str, Any]) -> str:
    return f"{row['space']} {row['method']} {row['selection']} {row['seed']}"


def _line(row: dict[str, Any]) -> str:
    spread = f" ± {row['sd']:.2f}" if row["sd"] is not None else ""
    mean = f"{row['mean']:6.2f}{spread}" if row["n"] else "     –"
    more = "".join(f", {row[what]} {what}" for what in ("collapsed", "failed") if row[what])
    return f"{row['space']}  {row['method']:<12} {row['selection']:<14} {mean} (n = {row['n']}{more})"


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("study")
