"""Under what a certificate was made, and how that differs from what was recorded."""

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import winnow
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.measure.latency import fingerprint
from winnow.run import files, lineage
from winnow.run.revision import commit_of, md5_of
from winnow.run.work import choose_device
from winnow.tracking import facts
from winnow.trust.gate import flat
from winnow.trust.origin import read_origin
from winnow.trust.provenance import environment, trained_by

NO_REPOSITORY = "no repository"


@dataclass
class Circumstances:
    """`alike`: what docs/determinism.md asks for equal bits is as recorded. `differences` say what is not."""

    commit: str
    machine: dict[str, Any]
    alike: bool
    differences: list[str] = field(default_factory=list)


def circumstances(params: Params, folder: Path, lock: Mapping[str, Any]) -> Circumstances:
    """Of this process, against what the model file, evaluate.json, requirements.lock and dvc.lock recorded."""
    device = choose_device(params)
    now = environment(device, *trained_by(params)) | {"processor": fingerprint(device)}
    differences = _hardware(folder, now) + _versions(folder)
    alike = not differences
    differences += _code(lock) + _parameters(params, lock) + _inputs(params, folder)
    try:
        commit = commit_of(folder, "HEAD")
    except Refused:
        commit = NO_REPOSITORY
    machine = {**now, **{name: value for name, value in facts.environment().items() if name in ("cpu", "isa", "os")}}
    return Circumstances(commit, machine, alike, differences)


def _hardware(folder: Path, now: Mapping[str, str]) -> list[str]:
    """By the model that is here, else by what evaluate.json names; unknown is told, and taken for different."""
    if (folder / files.MODEL).is_file():
        before = read_origin(folder / files.MODEL).provenance.get("environment", {})
        if before:
            return [
                f"{name}: recorded {before[name]}, now {now.get(name)}"
                for name in before
                if before[name] != now.get(name)
            ]
    path = folder / files.REPORTS / "evaluate.json"
    told = files.read_json(path, "evaluate").get("latency_device") if path.is_file() else None
    return [] if told == now["processor"] else [f"processor: recorded {told or 'nowhere'}, now {now['processor']}"]


def _versions(folder: Path) -> list[str]:
    """What is installed in another version than the project locks."""
    lock, found = folder / "requirements.lock", []
    for name, version in re.findall(
        r"(?m)^([\w.\-]+)==([^\s;]+)", lock.read_text(encoding="utf-8") if lock.is_file() else ""
    ):
        try:
            here = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
        if here != version:
            found.append(f"{name}: locked {version}, installed {here}")
    return found


def _code(lock: Mapping[str, Any]) -> list[str]:
    root = Path(winnow.__file__).parents[1]
    deps = {dep["path"]: dep.get("md5") for stage in lock.values() for dep in stage["deps"]}
    paths = {path: root / path.removeprefix("src/") for path in deps if path.startswith("src/")}
    return [f"code: {p} is not as recorded" for p, at in sorted(paths.items()) if at.exists() and md5_of(at) != deps[p]]


def _inputs(params: Params, folder: Path) -> list[str]:
    """What is named outside and is not what the stages saw."""
    changed = dict.fromkeys(key for name in lineage.runs_of(params) for key in lineage.stale(params, folder, name))
    return [f"input {key}: not what was recorded" for key in changed]


def _parameters(params: Params, lock: Mapping[str, Any]) -> list[str]:
    now = dict(flat(params.model_dump(mode="json")))
    found = set()
    for stage in lock.values():
        recorded = stage.get("params", {})
        for name, value in flat(recorded):
            if name in now and str(now[name]) != str(value):  # PyYAML reads the 1e-05 of dvc.lock as text
                found.add(f"parameter {name}: recorded {value}, now {now[name]}")
    return sorted(found)
