"""The digest of a function's code by dotted path: of one's own files that it imports, and of what they lean on."""

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.run.contents import digest_of
from winnow.run.imports import closure, file_of, imported

LIBRARIES = ("site-packages", "dist-packages")


def own_roots(folder: Path) -> dict[Path, str]:
    """Where modules of the user's own are looked for: what is on the path but the libraries, then the project's folder.

    The order is that in which Python looks (`imports.on_path`).
    """
    python = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    places = [*(Path(entry).resolve() for entry in sys.path), folder.resolve()]
    return {
        place: ""
        for place in places
        if place.is_dir() and place.name not in LIBRARIES and not any(place.is_relative_to(p) for p in python)
    }


def digest_of_module(dotted: str, key: str, folder: Path, state: Path) -> str:
    """Of the files that `dotted`, "module:function", imports, the data in their packages, and versions of libraries.

    Names count as one imports them, whatever folder they are found in. Libraries count by their versions, without those
    that winnow itself asks for, which requirements.lock holds; so does a function that lies in a library. `key` names
    the parameter where there is no such module (Refused). OSError where a file cannot be read.
    """
    module, roots = dotted.partition(":")[0], own_roots(folder)
    if module.partition(".")[0] == "winnow":
        return "winnow"  # whose code is among the deps of dvc.yaml and in every fingerprint
    if file_of(module, roots) is None:
        roots |= _elsewhere(module, key)
    standard = [name for name in sys.stdlib_module_names if any((root / name).exists() for root in roots)]
    files = closure([module], roots, ("winnow", "winnow.*", *standard, *(f"{name}.*" for name in standard)))
    inner = sorted(roots, key=lambda root: -len(root.parts))  # of src/ and the folder around it, src/ tells the name
    where = {file: next(root for root in inner if file.is_relative_to(root)) for file in files}
    packages = {where[file] / file.relative_to(where[file]).parts[0] for file in files if file.parent != where[file]}
    data = [package for package in sorted(packages) if (package / "__init__.py").is_file()]
    tops = {name.partition(".")[0] for file in files for name in imported(file, "")} | {module.partition(".")[0]}
    told: dict[str, Any] = {
        "files": {file.relative_to(where[file]).as_posix(): digest_of(file, state) for file in files},
        "data": {package.name: digest_of(package, state, without=".py") for package in data},
        "libraries": _libraries({top for top in tops if top and file_of(top, roots) is None}),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _elsewhere(module: str, key: str) -> dict[Path, str]:
    """The root of a module that is no file on the path: of an editable install; none for a library."""
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    places = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or [spec.origin or ""]]
    if top in sys.stdlib_module_names or any(set(LIBRARIES) & set(place.parts) for place in places):
        return {}
    roots = {place.parent.resolve(): "" for place in places}
    if file_of(module, roots) is None:
        file = f"{module.replace('.', '/')}.py"
        raise Refused(f"{key}: no module {module!r}: it takes a file {file} beside params.yaml or on PYTHONPATH")
    return roots


def _libraries(tops: Collection[str]) -> dict[str, str]:
    """The versions of installed libraries by distribution; of those that winnow asks for, requirements.lock tells."""
    required = importlib.metadata.requires("winnow") or []
    ours = {_plain(re.split(r"[^\w.\-]", text)[0]) for text in required} | {"winnow"}
    tops = {top for top in tops if _plain(top) not in ours and top not in sys.stdlib_module_names}
    given = importlib.metadata.packages_distributions() if tops else {}  # a third of a second
    names = {_plain(name) for top in tops for name in given.get(top, ())} - ours
    return {name: importlib.metadata.version(name).partition("+")[0] for name in sorted(names)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
