"""From a model or an architecture back to everything it came from, each step with what vouches for it.

A file says itself what it was trained on. What lies in the project (dvc.lock, artifacts, git, records of runs) is added
where digests show that it is of the same file; what they do not vouch for is shown and marked as not proved.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.config.reading import read_params
from winnow.core.errors import Refused
from winnow.run import files
from winnow.run.lineage import record_of
from winnow.run.outside import Named, digest, named
from winnow.run.revision import LOCK, commit_of, commits_with, md5_of, outs_of, read_lock
from winnow.trust.origin import Origin, read_origin

FILE, HERE, OTHER, UNKNOWN = "in the file", "digests agree", "in the project, not proved", "not known here"
RECORD = ("stage", "run_id", "parent_run_id", "experiment", "tracking_uri")


@dataclass
class Step:
    """One link of the chain; `vouched` is one of FILE, HERE, OTHER, UNKNOWN."""

    name: str
    vouched: str
    facts: dict[str, Any] = field(default_factory=dict)


def why(path: Path, folder: Path | None = None) -> list[Step]:
    """The chain of `path` (.safetensors, .onnx, .json), in the project at `folder` (None: the one that `path` is in).

    Refused where the file is none that winnow writes.
    """
    origin = read_origin(path)
    root = folder or project_of(path)
    lock = _lock(root)
    steps = [_file(path, origin, root, lock)]
    mine = steps[0].vouched == HERE  # the lock speaks of this very file
    steps += [_architecture(origin), _selection(origin, root, lock), _supernet(root, lock)]
    steps += [_data(origin, root), _inputs(origin, root, lock), _parameters(origin, lock), _code(origin, root, lock)]
    steps += [_environment(origin), _runs(origin, root, lock, mine)]
    return steps


def why_text(steps: list[Step]) -> str:
    """The chain for a terminal."""
    lines = []
    for step in steps:
        lines.append(f"{step.name}  ({step.vouched})")
        for name, value in step.facts.items():
            told = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, Mapping) else value
            lines.append(f"    {name:<20} {', '.join(map(str, told)) if isinstance(told, list) else told}")
    return "\n".join(lines) + "\n"


def project_of(path: Path) -> Path:
    """The nearest folder above `path` with a params.yaml; its own folder where there is none."""
    above = path.resolve().parents
    return next((folder for folder in above if (folder / "params.yaml").is_file()), above[0])


def _lock(root: Path) -> dict[str, Any]:
    path = root / LOCK
    return read_lock(path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None, str(path))


def _file(path: Path, origin: Origin, root: Path, lock: Mapping[str, Any]) -> Step:
    md5 = md5_of(path)
    stages = [f"{name} ({out['path']})" for name, s in lock.items() for out in s["outs"] if out.get("md5") == md5]
    facts: dict[str, Any] = {"path": path.name, "kind": origin.kind, "md5": md5}
    if stages:
        facts["written by stage"] = ", ".join(stages)
        commits = commits_with(root, md5, LOCK)
        facts["recorded by commit"] = commits[0] if commits else "none yet: dvc.lock is not committed"
    elif origin.exported:
        facts |= {name: origin.exported[name] for name in ("model_md5", "commit", "winnow") if name in origin.exported}
    return Step("file", HERE if stages else FILE, facts)


def _architecture(origin: Origin) -> Step:
    return Step("architecture", FILE, {"space": origin.space, "digest": origin.digest, "choices": dict(origin.choices)})


def _selection(origin: Origin, root: Path, lock: Mapping[str, Any]) -> Step:
    path = root / files.SELECTIONS
    if not path.is_file():
        return Step("selection", UNKNOWN)
    content = files.read_json(path, "select")
    try:
        methods = {name: row["digest"] for name, row in content["methods"].items()}
        chosen = content["methods"][content["chosen"]]
        facts = {"method": content["chosen"]}
        if (inherited := chosen["inherited_accuracy"]) is not None:  # by the task's first metric
            facts["inherited score"] = inherited
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path} does not list selections: run `winnow select` again") from error
    facts["also chosen by"] = [n for n, d in methods.items() if d == origin.digest and n != content["chosen"]] or "none"
    facts |= {"evidence": _evidence(root / files.EVIDENCE, content["chosen"]), "others": methods}
    agrees = methods[content["chosen"]] == origin.digest and _is_locked(root, files.SELECTIONS, lock)
    return Step("selection", HERE if agrees else OTHER, facts)


def _evidence(path: Path, method: str) -> str:
    if not path.is_file():
        return "not here"
    try:
        rows = pq.read_table(path, columns=["method", "kept"]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise Refused(f"{path} is no whole table of evidence: run `winnow select` again") from error
    mine = [row for row in rows if row["method"] == method]
    return f"{len(mine)} rows of {method}, {sum(bool(row['kept']) for row in mine)} kept, in {files.EVIDENCE}"


def _supernet(root: Path, lock: Mapping[str, Any]) -> Step:
    """What the search left: it is a folder in dvc.lock."""
    facts: dict[str, Any] = {}
    if (root / files.SUPERNET).is_file():
        tensors, about = files.read_tensors(root / files.SUPERNET, "search")
        facts = {"tensors": len(tensors), **{name: value for name, value in about.items() if _short(value)}}
    if (root / files.SEARCH).is_dir():
        facts["md5"] = md5_of(root / files.SEARCH)
        return Step("search", HERE if _is_locked(root, files.SEARCH, lock) else OTHER, facts)
    md5 = outs_of(dict(lock)).get(files.SEARCH.as_posix())
    return Step("search", UNKNOWN, {"md5 in dvc.lock": md5} if md5 else {})


def _data(origin: Origin, root: Path) -> Step:
    told = origin.provenance.get("data", {})
    path = root / files.SPLITS / "manifest.json"
    if not path.is_file():
        return Step("data", FILE if told else UNKNOWN, told)
    manifest = files.read_json(path, "prepare")
    try:
        splits = {name: split["digest"] for name, split in manifest["splits"].items()}
        here = {"source": manifest["source"], "digest": manifest["source_digest"], "splits": splits}
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"{path} does not say what its splits are: run `winnow prepare` again") from error
    if not told:
        return Step("data", OTHER, {**here, "note": "of the project; the file does not say"})
    return Step("data", HERE if told == here else FILE, told)


def _inputs(origin: Origin, root: Path, lock: Mapping[str, Any]) -> Step:
    """What was read outside, by parameter, and whether it is still the same; by the file and by the records of runs."""
    told = {key: ("the file", seen) for key, seen in origin.provenance.get("inputs", {}).items()}
    for path in _records(lock):
        if _is_locked(root, path, lock):
            recorded = record_of(root, path.stem).get("outside", {})
            told = {**{key: (path.stem, seen) for key, seen in recorded.items()}, **told}
    if not told:
        known = "inputs" in origin.provenance
        return Step("inputs", FILE if known else UNKNOWN, {"outside": "nothing but winnow's own"} if known else {})
    now = _named_here(root)
    facts, same = {}, True
    for key, (teller, seen) in sorted(told.items()):
        present = _present(now.get(key), root)
        same = same and present == seen
        state = "the same now" if present == seen else f"changed, now {present[:12]}" if present else "not here now"
        facts[key] = f"{seen[:12]}, by {teller}; {state}"
    return Step("inputs", HERE if same else OTHER, facts)


def _named_here(root: Path) -> dict[str, Named]:
    try:
        return {each.key: each for each in named(read_params(root / "params.yaml", methods=False), root)}
    except Refused:  # a file of another project, or none: what it was made of is not here to compare with
        return {}


def _present(each: Named | None, root: Path) -> str:
    try:
        return digest(each, root) if each is not None else ""
    except Refused:
        return ""


def _records(lock: Mapping[str, Any]) -> list[Path]:
    """The records of runs that dvc.lock names."""
    return [Path(path) for path in outs_of(dict(lock)) if Path(path).parent == files.RUNS and path.endswith(".json")]


def _parameters(origin: Origin, lock: Mapping[str, Any]) -> Step:
    told = ("begins", "recipe", "augmentation", "trained_on")
    facts = {name: origin.provenance[name] for name in told if name in origin.provenance}
    if origin.seed is not None:
        facts["seed"] = origin.seed
    for name in ("search", "select"):
        params = lock.get(name, {}).get("params", {})
        facts |= {f"{name}, by dvc.lock": params.get(name)} if params.get(name) else {}
    return Step("parameters", FILE if origin.provenance else UNKNOWN, facts)


def _code(origin: Origin, root: Path, lock: Mapping[str, Any]) -> Step:
    """The digests of the code in the file, and the commit whose dvc.lock has them."""
    code: dict[str, str] = origin.provenance.get("code", {})
    if not code:
        return Step("code", UNKNOWN)
    deps = {dep["path"]: dep.get("md5") for stage in lock.values() for dep in stage["deps"]}
    others = [name for name, md5 in code.items() if deps.get(name) != md5]
    try:
        present = commit_of(root, "HEAD")
    except Refused:
        present = "no repository"
    facts: dict[str, Any] = {**code, "present commit": present}
    if told := [name for name in others if name in deps]:  # a project of `winnow init` locks no code of winnow's
        facts["differs from dvc.lock"] = told
    return Step("code", FILE if others else HERE, facts)


def _environment(origin: Origin) -> Step:
    facts = origin.provenance.get("environment", {})
    return Step("environment", FILE if facts else UNKNOWN, facts)


def _runs(origin: Origin, root: Path, lock: Mapping[str, Any], mine: bool) -> Step:
    """The runs in MLflow that dvc.lock has beside this file; those of an exported file are in it."""
    if origin.exported.get("runs"):
        return Step("MLflow runs", FILE, origin.exported["runs"])
    facts = {}
    for path in sorted(_records(lock)):
        record = record_of(root, path.stem)
        if record.get("run_id") and _is_locked(root, path, lock):
            models = [f"{m.get('registered')} version {m.get('version')}" for m in record.get("models") or ()]
            facts[path.stem] = {k: record[k] for k in RECORD if k in record} | ({"models": models} if models else {})
    return Step("MLflow runs", (HERE if mine else OTHER) if facts else UNKNOWN, facts)


def _is_locked(root: Path, path: Path, lock: Mapping[str, Any]) -> bool:
    return (root / path).exists() and outs_of(dict(lock)).get(path.as_posix()) == md5_of(root / path)


def _short(value: Any) -> bool:
    return len(json.dumps(value)) < 200
