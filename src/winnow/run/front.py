"""A menu: one supernet, and an architecture for each entry of `select.front`, within the limits of that entry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.run import files
from winnow.run.limits import Limits
from winnow.run.work import final_space


def said(entry: Mapping[str, Any]) -> str:
    """As params.yaml has it: "max_macs 50%, max_params 100000"."""
    return ", ".join(f"{name} {value}" for name, value in entry.items())


def front_limits(params: Params, folder: Path, space: Space) -> list[Limits]:
    """Those of each entry, in place of select.max_*. Refused, naming the entry, where no architecture keeps them."""
    found = []
    for i, entry in enumerate(params.select.front):
        limits = Limits.of(params.within(entry), folder, space)
        try:
            limits.check(params.select.methods[:1])
        except Refused as refusal:
            raise Refused(f"select.front.{i} ({said(entry)}): {refusal}") from refusal
        found.append(limits)
    return found


def check_front(params: Params, folder: Path) -> None:
    """Refused, before anything is trained, where an entry asks for what no architecture is."""
    if params.select.front:
        front_limits(params, folder, final_space(params, folder))


def read_front(params: Params, folder: Path, space: Space) -> list[tuple[dict[str, Any], Architecture]]:
    """The rows that stage select wrote, each with its architecture. Refused where they are of another menu or space."""
    if not params.select.front:
        return []
    path = folder / files.FRONT
    rows = files.read_json(path, "select")
    try:
        if [row["limits"] for row in rows] != params.select.front:
            raise ValueError("it is of another select.front")
        found = [(row, Architecture.of(row["choices"])) for row in rows]
        for _, arch in found:
            space.check(arch)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Refused(f"{path} does not fit params.yaml ({error}): run `winnow select` again") from error
    return found
