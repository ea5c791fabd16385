"""Files of a project as a git revision has them, beside those of the working tree."""

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from winnow.core.errors import Refused
from winnow.system.git import NO_REPOSITORY, NO_SUCH, asked

LOCK = "dvc.lock"


def commit_of(folder: Path, revision: str) -> str:
    """The full name of the commit; Refused, with git's own reason, where git does not tell one."""
    commit, reason = asked(folder, "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if commit is not None:
        return commit.strip()
    name = folder.resolve().name
    if reason.startswith(NO_REPOSITORY):
        raise Refused(
            f"{name}/ is in no git repository, as a copy or an archive of one: there is no {revision!r} in it"
        )
    if reason.startswith(NO_SUCH):
        raise Refused(
            f"no revision {revision!r} in the git repository of {name}/: name a branch, tag or commit; a shallow clone "
            "may have to fetch it first"
        )
    raise Refused(f"git does not tell what {revision!r} is in {name}/: {reason}")


def files_at(folder: Path, commit: str, below: str) -> list[str]:
    """The files under `below` at that commit, seen from `folder`."""
    return _git(folder, "ls-tree", "-r", "--name-only", "-z", commit, "--", below).split("\0")[:-1]


def text_at(folder: Path, commit: str, path: str) -> str | None:
    """The content of `path` (seen from `folder`) at that commit; None where it is not there."""
    try:
        return _git(folder, "show", f"{commit}:./{path}")
    except Refused:
        return None


def changes(folder: Path) -> list[str]:
    """The files of the repository, seen from its top, that are not as HEAD has them; new ones too, ignored ones not."""
    words = ("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
    return [line[3:] for line in _git(folder, *words).split("\0") if line]


def commits_with(folder: Path, text: str, path: str) -> list[str]:
    """The commits, oldest first, that brought `text` into `path` or took it out; none outside a repository."""
    try:
        return _git(folder, "log", "--reverse", "--format=%H", f"-S{text}", "--", path).split()
    except Refused:
        return []


def read_lock(text: str | None, name: str = LOCK) -> dict[str, Any]:
    """The stages of a dvc.lock by name, each with `deps`, `outs`, `params`; none for None. Refused where it is none."""
    if text is None:
        return {}
    try:
        stages = (yaml.safe_load(text) or {}).get("stages") or {}
        return {name: _stage(name, content) for name, content in stages.items()}
    except (yaml.YAMLError, AttributeError, TypeError, KeyError, ValueError, RecursionError) as error:
        raise Refused(f"{name} is not a lock file of DVC: check it out of git, or run `dvc repro` again") from error


def _stage(name: str, content: Any) -> dict[str, Any]:
    deps, outs = ([dict(entry) for entry in content.get(key) or ()] for key in ("deps", "outs"))
    params = (content.get("params") or {}).get("params.yaml") or {}
    words = [name, *(entry["path"] for entry in deps + outs), *(entry.get("md5", "") for entry in deps + outs)]
    if not all(isinstance(word, str) for word in words) or not isinstance(params, dict):
        raise TypeError("takes names, paths and digests")
    return {"deps": deps, "outs": outs, "params": params}


def outs_of(stages: dict[str, Any]) -> dict[str, str]:
    """The recorded md5 of every output, by path."""
    return {out["path"]: out.get("md5", "") for stage in stages.values() for out in stage["outs"]}


def md5_of(path: Path) -> str:
    """As DVC names content: md5 of a file's bytes; of a folder, md5 of its list of files, ending in ".dir"."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    listed = [
        {"md5": md5_of(file), "relpath": file.relative_to(path).as_posix()}
        for file in sorted(path.rglob("*"), key=lambda file: file.relative_to(path).parts)
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"  # as .dvcignore has it
    ]
    return hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _git(folder: Path, *words: str) -> str:
    answer, reason = asked(folder, *words)
    if answer is None:
        raise Refused(f"git {words[0]} failed in {folder.resolve().name}/: {reason}")
    return answer
