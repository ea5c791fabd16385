"""One cell of a study: its supernet and its selection, in folders of .winnow/study named by what they stand on."""

import errno
import json
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.pipelines import search
from winnow.pipelines import select as selecting
from winnow.stage import files
from winnow.stage.combinations import Cell
from winnow.stage.fingerprint import fingerprint
from winnow.stage.report import collapsed
from winnow.stage.tracking import state_folder
from winnow.stage.work import Work

SPLITS = ("weights", "arch", "select")
NOTHING = {  # the columns of a cell that failed
    "score": None,
    "architecture": "",
    "digest": "",
    "inherited_accuracy": None,
    "parameter_free": None,
    "collapse": "",
    "params": None,
    "macs": None,
    "table": "{}",
}


def result(work: Work, cell: Cell) -> dict[str, Any]:
    """The row of a cell: read where it was computed before. One that fails says why in `error` and has no score.

    Nothing that would end every other cell as well is taken for a failure of this one: a full disk, Ctrl-C.
    """
    named = {"space": cell.space, "method": cell.method, "selection": cell.selection, "seed": cell.seed}
    began = time.monotonic()
    supernet, selection = places(work.folder, cell)
    try:
        row = {**_computed(work, cell, supernet, selection), "error": ""}
        row["score"] = _score(cell, row)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, Refused) else error  # a stage made a sentence of it
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        row = {**NOTHING, "seconds": time.monotonic() - began, "error": _reason(error, selection)}
    return {**named, "unit": cell.unit, **row}


def is_there(folder: Path, cell: Cell) -> bool:
    return (places(folder, cell)[1] / "cell.json").is_file()


def places(folder: Path, cell: Cell) -> tuple[Path, Path]:
    """The folders of the supernet and of the selection, by all that each stands on."""
    splits = {name: read_manifest(folder / files.SPLITS)["splits"][name]["digest"] for name in SPLITS}
    root = state_folder(folder) / "study"
    searched = {"splits": splits, **cell.searched()}
    supernet, selection = fingerprint(**searched), fingerprint(**searched, **cell.selected())
    return root / f"supernet-{supernet}", root / f"select-{selection}"


def _computed(work: Work, cell: Cell, supernet: Path, selection: Path) -> dict[str, Any]:
    if not (selection / "cell.json").is_file():
        began = time.monotonic()
        _link(supernet / "data", work.folder / "data")
        if not (supernet / "done").is_file():
            search.main(cell.params, supernet)
            (supernet / "done").touch()
        _link(selection / "data", work.folder / "data")
        _link(selection / files.SEARCH, supernet / files.SEARCH)
        selecting.main(cell.params, selection)
        collapse = files.read_json(supernet / files.REPORTS / "search.json", "search").get("collapse", "")
        found = _result(selection, collapse)
        files.write_json(selection / "cell.json", {**found, "seconds": time.monotonic() - began})
    row: dict[str, Any] = files.read_json(selection / "cell.json", "study")
    return row


def _link(link: Path, target: Path) -> None:
    """Make `link` lead to `target`, relative to itself, so that a project can be copied and moved with its study.

    A copy where the file system knows no links. What lay there, of another place of the project, goes.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    wanted = os.path.relpath(target.resolve(), link.parent.resolve())
    if link.is_symlink():
        if os.readlink(link) == wanted:
            return
        link.unlink()
    elif link.exists():
        shutil.rmtree(link)
    try:
        link.symlink_to(wanted, target_is_directory=True)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.ENOTSUP):
            raise
        shutil.copytree(target, link)


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


def _score(cell: Cell, row: dict[str, Any]) -> float:
    """In the unit of the cell. Refused where there is nothing to judge its find by."""
    table, column = json.loads(row["table"]), cell.params.study.column
    if table and column not in table:
        raise Refused(f"study.column: the table has no column {column!r}; it has {', '.join(table)}")
    value: float | None = table[column] if table else row["inherited_accuracy"]
    if value is None:
        raise Refused(f"study: {cell.name} leaves no supernet to judge its find with: give select.table")
    return value


def _reason(error: Exception, folder: Path) -> str:
    """One line; of what was not foreseen, the traceback stays beside the cell."""
    if isinstance(error, Refused):
        return str(error)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "error.txt", traceback.format_exc())
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (all of it in {folder / 'error.txt'})"
