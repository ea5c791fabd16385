"""Recipes: complete files of parameters, one a published setting, and putting one in the place of params.yaml."""

import difflib
import itertools
from pathlib import Path

import winnow
from winnow.core.errors import Refused
from winnow.system.whole import atomic

PARAMS = "params.yaml"


def recipes(folder: Path) -> dict[str, Path]:
    """The files by name: those of recipes/ in `folder`, then those that come with winnow; sorted."""
    package = Path(winnow.__file__).parent
    places = (folder, package.parents[1], package)  # one's own, those of a clone, those of an installed package
    found: dict[str, Path] = {}
    for place in places:
        for path in (place / "recipes").glob("*.yaml"):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def about(path: Path) -> list[str]:
    """The lines of the comment that a recipe begins with; the first says what it is."""
    head = itertools.takewhile(
        lambda line: line.startswith("#"), path.read_text(encoding="utf-8", errors="replace").splitlines()
    )
    return [line.removeprefix("#").strip() for line in head]


def use(name: str, folder: Path) -> tuple[Path, Path | None]:
    """Recipe `name` becomes the params.yaml of `folder`; the recipe, and where the old file is kept.

    None where there was none, or where it was a recipe as it stands and so can be had again. Refused where there is no
    such recipe.
    """
    known = recipes(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Refused(f"no recipe {name!r}{hint} (`winnow use` lists all {len(known)})")
    chosen, params = known[name].read_bytes(), folder / PARAMS
    kept = _kept(params, {path.read_bytes() for path in known.values()}) if params.exists() else None
    with atomic(params) as temporary:
        temporary.write_bytes(chosen)
    return known[name], kept


def _kept(params: Path, known: set[bytes]) -> Path | None:
    """Where the content of `params` is there beside it, as .old, .old2, …; None where a recipe holds it."""
    content = params.read_bytes()
    if content in known:
        return None
    names = (params.with_name(f"{params.name}.old{number}") for number in ("", *range(2, 10_000)))
    path = next(path for path in names if not path.exists() or path.read_bytes() == content)
    if not path.exists():
        with atomic(path) as temporary:
            temporary.write_bytes(content)
    return path
