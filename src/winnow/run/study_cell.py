"""One cell of a study: its supernet and its selection, in folders of .winnow/study named by what they stand on."""

import errno
import hashlib
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from winnow.config.methods import strategy, trainer
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.combinations import TRAINED, Cell
from winnow.run.fingerprint import fingerprint
from winnow.run.imports import closure, winnow_roots
from winnow.run.outside import READS, digests
from winnow.run.report import collapsed
from winnow.run.trained import KEPT, trained_score
from winnow.run.work import Work
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.search.strategy import INITIALISED, TRIALS
from winnow.spaces import SPACES
from winnow.tracking import state_folder

Stage = Callable[[Params, Path], None]  # what a stage's file calls main
SPLITS = ("weights", "arch", "select")
LISTS = (  # of strategies, selections, spaces and proxies, and what params.yaml may say of all of them
    "winnow.search.methods",
    "winnow.search.selections",
    "winnow.config.methods",
    "winnow.spaces",
    "winnow.proxies",
    "winnow.predictors",
    "winnow.config.params",
    "winnow.config.trial_params",
)
SHOWS = ("winnow.cli*", "winnow.look*", "winnow.tracking*", "winnow.run.draw", "winnow.run.report")
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


def result(work: Work, cell: Cell, search: Stage, select: Stage) -> dict[str, Any]:
    """The row of a cell: read where it was computed before. One that fails says why in `error` and has no score.

    Nothing that would end every other cell as well is taken for a failure of this one: a full disk, Ctrl-C.
    """
    named = {"space": cell.space, "method": cell.method, "selection": cell.selection, "seed": cell.seed}
    began = time.monotonic()
    selection = places(work.folder, cell)[1]
    try:
        row = {**_computed(work, cell, search, select), "error": ""}
        row["score"] = _score(work, cell, row, selection)
    except Exception as error:
        cause = error.__cause__ if isinstance(error, Refused) else error  # a stage made a sentence of it
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        row = {**NOTHING, "seconds": time.monotonic() - began, "error": _reason(error, selection)}
    return {**named, "unit": cell.unit, **row}


def selected(work: Work, cell: Cell, search: Stage, select: Stage) -> Path:
    """The folder of the cell's selection, with what it chose; computed unless it is there. Refused as its stages do."""
    _computed(work, cell, search, select)
    return places(work.folder, cell)[1]


def is_there(folder: Path, cell: Cell) -> bool:
    files_of = ("cell.json", KEPT) if cell.judged_by == TRAINED else ("cell.json",)
    return all((places(folder, cell)[1] / name).is_file() for name in files_of)


def places(folder: Path, cell: Cell) -> tuple[Path, Path]:
    """The folders of the supernet and of the selection, by all that each stands on."""
    supernet, selection = (place for place, _ in _standing(folder, cell))
    return supernet, selection


def _standing(folder: Path, cell: Cell) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The two folders, each with what it stands on: `rest`, a fingerprint, and `code`, digests by file."""
    splits = {name: read_manifest(folder / files.SPLITS)["splits"][name]["digest"] for name in SPLITS}
    parts: dict[str, Any] = {"splits": splits, **cell.searched()}
    for kind, stage in (("supernet", "search"), ("select", "select")):
        parts |= {f"outside {stage}": digests(cell.params, folder, READS[stage])}
        parts |= cell.selected() if kind == "select" else {}
        code = code_of(cell, stage)
        place = state_folder(folder) / "study" / f"{kind}-{fingerprint(**parts, code=code)}"
        yield place, {"rest": fingerprint(**parts, code=""), "code": code}


def _begin(work: Work, place: Path, stands_on: dict[str, Any]) -> None:
    """Make the folder of a cell and say, where the same was computed by other code, which files have changed."""
    kind = place.name.partition("-")[0]
    for other in place.parent.glob(f"{kind}-*/stands_on.json"):
        before = files.read_json(other, "study")
        if other.parent != place and before["rest"] == stands_on["rest"] and not (place / "stands_on.json").is_file():
            code = stands_on["code"]
            changed = [name for name in sorted(code | before["code"]) if code.get(name) != before["code"].get(name)]
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            work.say(f"  this {kind} was there, but {', '.join(changed[:3])}{more} changed: it is computed again")
            break
    files.write_json(place / "stands_on.json", stands_on)


def code_of(cell: Cell, stage: str) -> dict[str, str]:
    """The files of winnow that a stage of a cell runs, by name, with their digests.

    By import statements, but through no list of everything: what stands in such a list beside the strategy, the
    selections and the space of the cell is not run. Code that shows and tracks changes no result, and is left out as
    dvc.yaml leaves it.
    """
    search, select = cell.params.search, cell.params.select
    strategies = {search.strategy, trainer(cell.params)[0]}
    # what trials and proxies run is reached through lists
    listed = bool({TRIALS, INITIALISED} & strategy(search.strategy).leaves)
    runs = [STRATEGIES[name] for name in sorted(strategies) if name in STRATEGIES]
    runs += [SELECTIONS[name] for name in select.methods if name in SELECTIONS and stage == "select"]
    return _digests(stage, cell.params.space.name, tuple(runs), () if listed else LISTS)


@cache
def _digests(stage: str, space: str, runs: tuple[str, ...], lists: tuple[str, ...]) -> dict[str, str]:
    starts = [f"winnow.pipelines.{stage}", *runs, *([SPACES[space].__module__] if space in SPACES else [])]
    roots = winnow_roots()
    found = closure(starts, roots, (*lists, *SHOWS))
    below = {file: next(root for root in roots if file.is_relative_to(root)) for file in found}
    return {
        f"{roots[root]}/{file.relative_to(root).as_posix()}": hashlib.sha256(file.read_bytes()).hexdigest()[:12]
        for file, root in below.items()
    }


def _computed(work: Work, cell: Cell, search: Stage, select: Stage) -> dict[str, Any]:
    (supernet, searched), (selection, selected) = _standing(work.folder, cell)
    if not (selection / "cell.json").is_file():
        began = time.monotonic()
        if not (supernet / "done").is_file():
            _begin(work, supernet, searched)
        _begin(work, selection, selected)
        _link(supernet / "data", work.folder / "data")
        if not (supernet / "done").is_file():
            search(cell.params, supernet)
            (supernet / "done").touch()
        _link(selection / "data", work.folder / "data")
        _link(selection / files.SEARCH, supernet / files.SEARCH)
        select(cell.params, selection)
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


def _score(work: Work, cell: Cell, row: dict[str, Any], selection: Path) -> float:
    """In the unit of the cell. Refused where there is nothing to judge its find by."""
    table, column = json.loads(row["table"]), cell.params.study.column
    if table and column not in table:
        raise Refused(f"study.column: the table has no column {column!r}; it has {', '.join(table)}")
    if cell.judged_by == TRAINED:
        began = time.monotonic()
        score = trained_score(work, cell, row["architecture"], selection)
        row["seconds"] += time.monotonic() - began
        return score
    value: float | None = table[column] if table else row["inherited_accuracy"]
    if value is None:
        raise Refused(
            f"study: {cell.name} leaves no supernet to judge its find with: set study.judge to trained, or give "
            "select.table"
        )
    return value


def _reason(error: Exception, folder: Path) -> str:
    """One line; of what was not foreseen, the traceback stays beside the cell."""
    if isinstance(error, Refused):
        return str(error)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "error.txt", traceback.format_exc())
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} (all of it in {folder / 'error.txt'})"
