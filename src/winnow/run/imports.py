"""Which Python files a file or module imports, and those in turn, read from the import statements; nothing is run.

Counted are statements inside functions too, `importlib.import_module("a.b")`, and texts like "a.b:build", by which
winnow and its users name functions. What is imported by a name made up at run time is not seen.
"""

import ast
import contextlib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import winnow

Roots = Mapping[Path, str]  # a folder, and the dotted name that what lies in it is below: "" as for one on sys.path
DOTTED = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):[^\W\d]\w*")  # "package.module:function"


def closure(starts: Iterable[Path | str], roots: Roots, without: Collection[str] = ()) -> list[Path]:
    """The files of `starts` (paths, dotted modules, "module:function") and all that they import inside `roots`, sorted.

    The `__init__.py` of each package on the way is among them, as it runs too; compiled modules are, and end the way.
    Folders without `__init__.py` are packages. Roots that come first win. Modules whose name matches a pattern in
    `without` are left out: ("winnow.search.methods",) leaves out the list of all methods, but not the methods that
    something else imports by itself; ("winnow", "winnow.*") all of winnow.
    """
    places = {folder.resolve(): package for folder, package in roots.items()}
    waiting: list[tuple[str, Path]] = []
    for start in starts:
        if isinstance(start, Path):
            waiting.append((_name_of(start.resolve(), places), start.resolve()))
        else:
            waiting += _on_the_way(start.partition(":")[0], places)
    found: dict[Path, str] = {}
    asked: dict[str, list[tuple[str, Path]]] = {}
    while waiting:
        name, path = waiting.pop()
        if path in found or any(fnmatchcase(name, pattern) for pattern in without):
            continue
        found[path] = name
        for each in imported(path, name):
            if each not in asked:
                asked[each] = _on_the_way(each, places)
                waiting += asked[each]
    return sorted(found)


def imported(path: Path, name: str) -> Iterator[str]:
    """The absolute dotted names that the file of module `name` imports; of `from a import b`, a and a.b.

    A file that is no Python, or does not parse, imports nothing: who runs it will see why.
    """
    if path.suffix != ".py":
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if dotted := DOTTED.fullmatch(node.value):
                yield dotted[1]
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield _absolute(first.value, package)


def winnow_roots() -> dict[Path, str]:
    """Those of winnow's own code, wherever it is installed: the package and its pipelines."""
    spec = importlib.util.find_spec("winnow.pipelines")
    stages = list(spec.submodule_search_locations or ()) if spec is not None else []
    return {Path(winnow.__file__).parent: "winnow", **{Path(stage): "winnow.pipelines" for stage in stages}}


def on_path(folder: Path) -> None:
    """Let the modules in `folder` be imported: after all others, so that none of theirs is hidden by its name."""
    with contextlib.suppress(FileNotFoundError):  # the present folder may be gone
        if (place := str(folder.resolve())) not in sys.path:
            sys.path.append(place)


def _on_the_way(name: str, places: Roots) -> list[tuple[str, Path]]:
    """The files that `import name` runs: of a.b.c those of a, a.b and a.b.c, as far as there are any.

    `from package import *` may import each module of the package.
    """
    parts = name.split(".")
    if parts[-1] == "*":
        inside = file_of(".".join(parts[:-1]), places)
        if inside is None or inside.name != "__init__.py":
            return []
        return [(f"{name[:-2]}.{file.stem}", file) for file in inside.parent.glob("*.py") if file != inside]
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    return [(each, file) for each in names if (file := file_of(each, places)) is not None]


def file_of(name: str, places: Roots) -> Path | None:
    """The file of one module; None where it lies in none of the places, or is a folder without `__init__.py`."""
    for folder, package in places.items():
        if package and name != package and not name.startswith(f"{package}."):
            continue
        rest = name.removeprefix(package).strip(".")
        path = folder.joinpath(*rest.split(".")) if rest else folder
        files = [path / "__init__.py", *([path.with_name(path.name + s) for s in (".py", *EXTENSION_SUFFIXES)])]
        for file in files if rest else files[:1] if package else ():
            if file.is_file():
                return file
    return None


def _name_of(path: Path, places: Roots) -> str:
    """The dotted name of a file, by the deepest root that it lies in."""
    for folder in sorted(places, key=lambda folder: -len(folder.parts)):
        if path.is_relative_to(folder):
            parts = path.relative_to(folder).with_suffix("").parts
            return ".".join(filter(None, (places[folder], *(part for part in parts if part != "__init__"))))
    return path.stem


def _absolute(name: str, package: str) -> str:
    """The name without its leading dots, seen from `package`."""
    level = len(name) - len(name.lstrip("."))
    base = package.split(".")[: len(package.split(".")) - level + 1] if level else []
    return ".".join(filter(None, (*base, name[level:])))


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
