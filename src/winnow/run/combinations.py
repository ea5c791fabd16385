"""The study of methods and selections: its cells as parameters of their own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.config.methods import objection, trainer
from winnow.config.params import RANDOM, Params
from winnow.config.reading import check_params
from winnow.config.section import Named, Section
from winnow.core.errors import Refused
from winnow.run.outside import OUTSIDE, PATH, resolved, valued
from winnow.run.table import columns
from winnow.tasks import task_named

INHERITED = "accuracy with inherited weights, percent"
TRAINED = "of the find trained alone, on split select"
TABLE = "table"


@dataclass(frozen=True)
class Cell:
    """One combination, and the whole of the parameters that it runs with; `seed` is theirs too."""

    space: str
    method: str
    selection: str
    seed: int
    params: Params

    @property
    def name(self) -> str:
        return f"{self.space} {self.method} {self.selection} {self.seed}"

    @property
    def unit(self) -> str:
        """What its score is; scores of two units are never set against each other."""
        if self.judged_by == TABLE:
            return f"{self.params.study.column} of the benchmark's table, percent"
        return INHERITED if self.judged_by == INHERITED else f"{task_named(self.params.task).metric} {TRAINED}"

    @property
    def judged_by(self) -> str:
        """`TABLE`, `TRAINED` or `INHERITED`."""
        if self.params.select.table is not None:
            return TABLE
        return TRAINED if self.params.study.judge == "trained" else INHERITED

    def searched(self) -> dict[str, Any]:
        """The parameters that its supernet stands on: nothing that another strategy or another space takes.

        Without paths: what they lead to counts by its content (`outside.digests`), wherever the project lies.
        """
        whole, params = self._without_paths(), self.params
        return {
            "seed": params.seed,
            "runtime": params.runtime.arithmetic(),
            "task": params.task,
            "data": params.data.augment,
            "space": {"name": params.space.name, "options": params.space.chosen()},
            "search": _used(params.search, whole["search"], [params.search.strategy, trainer(params)[0]]),
        }

    def selected(self) -> dict[str, Any]:
        """Those that its selection stands on as well."""
        whole, select = self._without_paths(), self.params.select
        return {"select": _used(select, whole["select"], select.methods), "retrain": whole["retrain"]}

    def _without_paths(self) -> dict[str, Any]:
        whole = self.params.model_dump(mode="json")
        return changed(whole, {key: None for key, _ in _paths(whole)})


def _used(section: Named, content: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """`content` of `section` without the sections inside it that nobody of `names` reads."""
    common = {name for name in type(section).model_fields if not isinstance(getattr(section, name), Section)}
    return {name: value for name, value in content.items() if name in names or name in common}


def combinations(params: Params, folder: Path) -> tuple[list[Cell], list[str]]:
    """The cells of `params.study`, those of one supernet beside one another, and why some combinations are left out.

    Cells run in folders of their own: files that they name by a path relative to `folder` become absolute.
    Refused, naming the cell, where its parameters make no sense, and where no cell is left.
    """
    study, cells, left_out = params.study, [], []
    for seed in study.seeds:
        for space, of_space in study.spaces.items():
            for method, of_method in study.methods.items():
                for selection, of_selection in study.selections.items():
                    changes = {**of_space, **of_method, **of_selection, "seed": seed}
                    content = elsewhere(params, folder, changes)
                    strategy, chosen = content["search"]["strategy"], content["select"]["methods"]
                    if reason := next(filter(None, (objection(strategy, each) for each in chosen)), None):
                        left_out.append(f"{space} {method} {selection}: {reason}")
                        continue
                    cells.append(Cell(space, method, selection, seed, check_params(content, f"study, {method}")))
    if not cells:
        raise Refused(f"study: no combination means anything; {left_out[0]}")
    return cells, list(dict.fromkeys(left_out))


def counted(cells: list[Cell]) -> tuple[int, int, int]:
    """Seeds, combinations of method and selection, and spaces."""
    pairs = {(cell.method, cell.selection) for cell in cells}
    return len({cell.seed for cell in cells}), len(pairs), len({cell.space for cell in cells})


def check_columns(cells: list[Cell]) -> None:
    """Refused before anything is trained where a table lacks the column of the score."""
    for cell in cells:
        path, column = cell.params.select.table, cell.params.study.column
        if path is not None and column not in (known := columns(Path(path))):
            raise Refused(f"study.column: the table has no column {column!r}; it has {', '.join(known)}")


def elsewhere(params: Params, folder: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`params` with `changes` by dotted key, for search and select in another folder than `folder`, untracked."""
    alone = {"against": [RANDOM], "controls": 0, "searches": 1, "random_search": 0}  # compared with nothing
    plain = {"tracking.enabled": False, "select.front": []} | {f"evaluate.{name}": v for name, v in alone.items()}
    content = changed(params.model_dump(), plain)
    for key in ("space.name", "search.strategy", "select.methods"):
        section, _, name = key.partition(".")
        if changes.get(key, content[section][name]) != content[section][name]:
            content[section]["options"] = {}  # which belonged to another
    return absolute(changed(content, changes), folder)


def absolute(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A copy of the parameters in which files named by a path relative to `folder` are named by an absolute one."""
    return changed(content, {key: str(resolved(folder, path, key).resolve()) for key, path in _paths(content)})


def _paths(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys that hold a path outside, with it."""
    for each in OUTSIDE:
        if each.kind == PATH:
            yield from ((key, value) for key, value in valued(content, each.key) if value is not None)


def changed(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested `content` with `changes` by dotted key; whether such keys are known is not asked here."""
    result: dict[str, Any] = {name: dict(v) if isinstance(v, Mapping) else v for name, v in content.items()}
    for key, value in changes.items():
        place = result
        *sections, last = key.split(".")
        for section in sections:
            if not isinstance(place.get(section, {}), Mapping):
                raise Refused(f"study: params.yaml has no section {section!r}, as in {key!r}")
            place[section] = dict(place.get(section, {}))
            place = place[section]
        place[last] = value
    return result
