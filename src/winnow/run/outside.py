"""What params.yaml names outside winnow and outside itself, and the digest of each: nothing a user brings goes unseen.

`OUTSIDE` is the one list. Stage inputs, checkpoints, trials, studies, `winnow why` and `winnow verify` all go by it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import winnow.search
from winnow.config.params import ORIGINAL, RANDOM, Params
from winnow.core.errors import Refused
from winnow.run.contents import digest_of
from winnow.run.imports import DOTTED, closure, file_of
from winnow.run.modules import digest_of_module, own_roots
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.tracking import state_folder

INPUTS = Path("artifacts/inputs")  # a file a group: digests by parameter
PATH, MODULE, ANY, CHANGES, RIVAL, REVISION = "path", "module", "any", "changes", "rival", "revision"


@dataclass(frozen=True)
class Outside:
    """A parameter that may name something outside. `group`: who reads it; `when` it is read at all.

    `PATH` a file or folder; `MODULE` a function by dotted path, where it has a colon; `ANY` names and values of the
    user's own, of which those count that name a module or a file that is there; `CHANGES` other parameters, as a study
    sets them; `RIVAL` a network to compare with: a function, a file, or what a git revision found.
    """

    key: str
    kind: str
    group: str
    when: Callable[[Params], bool] = lambda params: True


OUTSIDE = (
    Outside("data.path", PATH, "data", lambda p: p.data.source not in ("omniglot", "digits")),
    Outside("data.source", MODULE, "data"),
    Outside("data.options", ANY, "data"),
    Outside("data.augment", ANY, "space"),
    Outside("task", MODULE, "data"),
    Outside("task", MODULE, "space"),
    Outside("space.name", MODULE, "space"),
    Outside("space.options", ANY, "space"),
    Outside("retrain.space", ANY, "space"),
    Outside("search.strategy", MODULE, "search"),
    Outside("search.options", ANY, "search"),
    Outside("search.RUNS", ANY, "search"),
    Outside("search.trials.table.path", PATH, "search", lambda p: p.search.trials.evaluator == "table"),
    Outside("search.trials.predictor.table", PATH, "search", lambda p: p.search.trials.evaluator == "predictor"),
    Outside("search.trials.sampler_options", ANY, "search"),
    Outside("search.trials.stopper_options", ANY, "search"),
    Outside("select.methods", MODULE, "select"),
    Outside("select.options", ANY, "select"),
    Outside("select.RUNS", ANY, "select"),
    Outside("select.table", PATH, "select"),
    Outside("select.device", PATH, "select"),
    Outside("select.front", ANY, "select"),  # devices of its entries
    Outside("tune.sampler_options", ANY, "tune"),
    Outside("tune.stopper_options", ANY, "tune"),
    Outside("evaluate.against", RIVAL, "evaluate"),
    Outside("study.spaces", CHANGES, "study"),
    Outside("study.methods", CHANGES, "study"),
    Outside("study.selections", CHANGES, "study"),
)
PIPELINE = ("data", "space", "search", "select", "tune", "evaluate")  # what the stages that DVC runs look at
GROUPS = (*PIPELINE, "study")
READS = {  # which groups a stage looks at, as dvc.yaml has it
    "prepare": ("data",),
    "search": ("space", "search"),
    "select": ("space", "select"),
    "tune": ("space", "tune"),
    "retrain": ("space",),
    "evaluate": ("space", "evaluate", "search", "select"),  # two of which it may run again, by other seeds
    "study": ("space", "search", "select", "study"),
}


@dataclass(frozen=True)
class Named:
    """Something outside that params.yaml names: by which key, and what; `kind` is PATH, MODULE or REVISION."""

    key: str
    kind: str
    group: str
    value: str
    free: bool = False  # among names of the user's own, which their code reads as they are


def named(params: Params, folder: Path) -> list[Named]:
    """All that `params` names outside, in the order of the list; what no stage reads by these settings is left out."""
    content = params.model_dump()
    return [
        found
        for each in OUTSIDE
        if each.when(params)
        for key, value in valued(content, each.key)
        for found in _named(each, key, value, folder)
    ]


def valued(content: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
    """The keys that an entry of `OUTSIDE` stands for in parameters, with their values.

    RUNS is the name of what runs: the section of the strategy or of a selection.
    """
    section, _, last = key.rpartition(".")
    places = {section: content}
    for part in section.split(".") if section else ():
        places[section] = places[section][part]
    if section == "search":  # each step of a chain has what a search has
        places |= {f"search.before.{i}": step for i, step in enumerate(content["search"]["before"])}
    for where, place in places.items():
        if last == "RUNS":
            names = place["methods"] if section == "select" else [place["strategy"]]
            yield from ((f"{where}.{name}", place[name]) for name in names if isinstance(place.get(name), Mapping))
        else:
            yield f"{where}.{last}".removeprefix("."), place[last]


def digests(params: Params, folder: Path, groups: Collection[str] = GROUPS) -> dict[str, str]:
    """The digest of everything outside that `params` (of the params.yaml in `folder`) names, by parameter.

    Refused, naming the parameter, where something is missing or cannot be read.
    """
    return {each.key: digest(each, folder) for each in named(params, folder) if each.group in groups}


def digest(each: Named, folder: Path) -> str:
    """Of content alone: a copy elsewhere has the same. Refused likewise."""
    if each.kind == REVISION:
        from winnow.run.found_at import digest_of_find  # torch, which looking at what is outside need not wait for

        return digest_of_find(folder, each.value, each.key)
    state = state_folder(folder)
    path = folder if each.kind == MODULE else resolved(folder, each.value, each.key)
    try:
        return digest_of_module(each.value, each.key, folder, state) if each.kind == MODULE else digest_of(path, state)
    except FileNotFoundError as error:
        gone = "" if str(error.filename) == str(path) else f" (its {error.filename} has just gone)"
        raise Refused(
            f"{each.key}: no file or folder {path}{gone}; paths start at the folder of params.yaml"
        ) from error
    except OSError as error:
        raise Refused(f"{each.key}: {error.filename or path} cannot be read ({error.strerror or error})") from error


def resolved(folder: Path, path: str, key: str) -> Path:
    """The place of a path in params.yaml: seen from the folder of that file; "~" is home. Refused for an address."""
    if re.match(r"\w[\w+.\-]*://", path):
        raise Refused(f"{key}: takes a file or folder on this machine, not the address {path!r}: fetch it first")
    place = folder / Path(path).expanduser()
    parent = os.environ.get(
        "DVC_ROOT"
    )  # an experiment may run in a passing copy, which data beside the project is not in
    if parent and not place.exists() and (Path(parent) / Path(path).expanduser()).exists():
        return Path(parent) / Path(path).expanduser()
    return place


def code_of(params: Params, group: str) -> dict[str, str]:
    """The digests of what `params` runs of winnow's strategies or selections, with what they import of each other."""
    search = params.search
    steps = [step.strategy for step in (*search.before, search)]
    names = {"search": [*steps, search.trials.inherited.strategy], "select": params.select.methods}
    known = {**STRATEGIES, **SELECTIONS}
    folders = {
        Path(winnow.search.__file__).parent / name: f"winnow.search.{name}" for name in ("methods", "selections")
    }
    found = {}
    for name in dict.fromkeys(names.get(group, ())):
        if name in known:
            files = [file for file in closure([known[name]], folders) if file.name != "__init__.py"]
            told = "".join(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n" for file in files)
            found[f"winnow's {name}"] = hashlib.sha256(told.encode()).hexdigest()
    return found


def changed_since(before: Mapping[str, str], params: Params, folder: Path, groups: Collection[str]) -> list[str]:
    """The parameters whose outside content is not what it was: other content, or no longer named, or newly so.

    What is not on this machine is not known to have changed.
    """
    now = {each.key: each for each in named(params, folder) if each.group in groups}
    changed = sorted(before.keys() ^ now.keys())
    for key in sorted(before.keys() & now.keys()):
        try:
            if digest(now[key], folder) != before[key]:
                changed.append(key)
        except Refused:
            continue
    return changed


def rival_kind(value: str) -> str | None:
    """What an entry of evaluate.against names: code with a colon, a file that ends in .json, else a git revision."""
    if value in (RANDOM, ORIGINAL):
        return None
    return MODULE if ":" in value else PATH if value.endswith(".json") else REVISION


def _named(each: Outside, key: str, value: Any, folder: Path) -> Iterator[Named]:
    if each.kind == CHANGES:
        others = {other.key: other for other in OUTSIDE if other.kind != CHANGES}
        for name, changes in value.items():
            for changed, new in changes.items():
                if changed in others:
                    yield from _named(
                        replace(others[changed], group=each.group), f"{key}.{name}.{changed}", new, folder
                    )
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named(each, f"{key}.{name}", inner, folder)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _named(each, f"{key}.{i}", inner, folder)
    elif isinstance(value, str) and (kind := _kind(each.kind, value, folder)) is not None:
        yield Named(key, kind, each.group, value, free=each.kind in (ANY, RIVAL))


def _kind(kind: str, value: str, folder: Path) -> str | None:
    """PATH, MODULE or REVISION, for what a value names; None where it names nothing outside."""
    if kind == PATH:
        return PATH
    if kind == RIVAL:
        return rival_kind(value)
    if DOTTED.fullmatch(value):
        known = kind == MODULE or file_of(value.partition(":")[0], own_roots(folder)) is not None
        return MODULE if known else None
    if kind == MODULE:
        return MODULE if ":" in value else None  # a name of winnow's own, or a mistake that the stage refuses
    written = "/" in value or "." in value  # "data" is a word; "weights.pt" and "a/b" are meant as files
    return PATH if written and "://" not in value and (folder / Path(value).expanduser()).exists() else None
