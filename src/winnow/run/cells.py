"""Cells of studies, and further searches, by workers: a supernet with all its selections is one job."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from winnow.config.reading import check_params
from winnow.run.by_workers import done
from winnow.run.combinations import Cell
from winnow.run.study_cell import Stage, is_there, places, result
from winnow.run.work import Work
from winnow.tracking import state_folder
from winnow.trials.outcome import Job


def rows_of(work: Work, cells: Sequence[Cell], search: Stage, select: Stage) -> Iterator[tuple[int, dict[str, Any]]]:
    """The place and the row of each of `cells`, as they are there; those of one supernet are one job."""
    if work.params.runtime.workers == 1:
        yield from ((place, result(work, cell, search, select)) for place, cell in enumerate(cells))
        return
    missing: dict[Path, list[int]] = {}
    for place, cell in enumerate(cells):
        if is_there(work.folder, cell):
            yield place, result(work, cell, search, select)
        else:
            missing.setdefault(places(work.folder, cell)[0], []).append(place)
    if not missing:
        return
    state = state_folder(work.folder)
    state.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=state, prefix="cells-") as passing:
        jobs = []
        for number, group in enumerate(missing.values()):
            told = [asdict(cells[place]) | {"params": cells[place].params.model_dump(mode="json")} for place in group]
            about = {"name": cells[group[0]].name, "cells": json.dumps(told), "answer": f"{passing}/{number}.json"}
            jobs.append(Job(number, 0, {**about, "places": json.dumps(group)}, None, {}))
        for job in done(work, "winnow.pipelines.study:worker", jobs):
            rows = json.loads(Path(job.parameters["answer"]).read_text(encoding="utf-8"))
            yield from zip(json.loads(job.parameters["places"]), rows, strict=True)


def cells_in_worker(work: Work, job: Job, search: Stage, select: Stage) -> None:
    """What a worker does of `rows_of`: the rows go into the file that the job names."""
    cells = [Cell(**{**told, "params": check_params(told["params"])}) for told in json.loads(job.parameters["cells"])]
    rows = [result(work, cell, search, select) for cell in cells]
    Path(job.parameters["answer"]).write_text(json.dumps(rows), encoding="utf-8")
