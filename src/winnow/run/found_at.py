"""What the pipeline of a git revision found: its architecture, from git or from DVC's cache, and of which space."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from winnow.config.methods import space_filled
from winnow.config.params import ORIGINAL, RANDOM, Params
from winnow.config.reading import check_params
from winnow.config.section import nearest
from winnow.core.errors import Refused
from winnow.run.revision import LOCK, commit_of, md5_of, outs_of, read_lock, text_at

FOUND = "artifacts/architecture.json"
PROJECT = "WINNOW_PROJECT"  # of what runs in another folder, where the repository is (winnow verify)


@dataclass(frozen=True)
class Find:
    """`md5` is of the file of the architecture; `space` the sections that say of which space it is, None as now."""

    place: Path  # the project whose repository has it
    commit: str
    md5: str
    space: dict[str, Any] | None

    def params(self, params: Params, key: str) -> Params:
        """`params` with the space of the revision. Refused where its params.yaml has none that is known now."""
        if self.space is None:
            return params
        source, wrong = f"{key}: params.yaml at {self.commit[:10]}", list[str]()
        told = check_params(self.space, source, methods=False)
        space = space_filled(told.space, wrong)
        if wrong:
            raise Refused("\n".join(f"{source}: {line}" for line in wrong))
        retrain = params.retrain.model_copy(update={"space": told.retrain.space})
        return params.model_copy(update={"space": space, "retrain": retrain})

    def content(self, revision: str, key: str) -> Any:
        """What the file holds. Refused where it is not on this machine, or not JSON."""
        text = text_at(self.place, self.commit, FOUND)
        for path in (self.place / FOUND, _cached(self.place, self.md5)):
            if text is None and path.is_file() and md5_of(path) == self.md5:
                text = path.read_text(encoding="utf-8")
        if text is None:
            raise Refused(
                f"{key}: what {revision} found ({FOUND}, md5 {self.md5[:8]}) is neither in git nor in DVC's cache: get "
                "it with `dvc fetch --all-commits`, or by `dvc pull` in a checkout of that revision"
            )
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{key}: {FOUND} at {revision} is not JSON") from error


def find_at(folder: Path, revision: str, key: str) -> Find:
    """Refused, beginning with `key`, where there is no such revision, or its pipeline found nothing."""
    place, commit = _commit(folder, revision, key)
    text = text_at(place, commit, FOUND)
    recorded = outs_of(read_lock(text_at(place, commit, LOCK), f"{LOCK} at {revision}")).get(FOUND)
    if text is None and not recorded:
        raise Refused(f"{key}: {LOCK} at {revision} names no {FOUND}: take a revision whose pipeline ran")
    md5 = recorded if text is None else hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    return Find(place, commit, str(md5), _space(text_at(place, commit, "params.yaml"), revision, key))


def digest_of_find(folder: Path, revision: str, key: str) -> str:
    """Of what was found and its space: another commit that found the same has the same."""
    find = find_at(folder, revision, key)
    return hashlib.sha256(json.dumps([find.md5, find.space], sort_keys=True).encode()).hexdigest()


def _commit(folder: Path, revision: str, key: str) -> tuple[Path, str]:
    """A project that has the revision, and its commit."""
    places = [Path(os.environ.get(PROJECT, folder))]
    places += [Path(os.environ["DVC_ROOT"])] if "DVC_ROOT" in os.environ else []  # an experiment in a passing copy
    for place in places:
        try:
            return place, commit_of(place, revision)
        except Refused as refusal:
            last = refusal
    hint = nearest(revision, [ORIGINAL, RANDOM])
    raise Refused(
        f"{key}: {last}{hint}; besides {RANDOM} and {ORIGINAL}, it takes code with a colon (my_net:build), a file that "
        "ends in .json, or a git revision"
    ) from last


def _space(text: str | None, revision: str, key: str) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        content = yaml.safe_load(text)
        retrained = (content.get("retrain") or {}).get("space") or {}
        return {"space": dict(content.get("space") or {}), "retrain": {"space": dict(retrained)}}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise Refused(f"{key}: params.yaml at {revision} is not one of winnow's") from error


def _cached(folder: Path, md5: str) -> Path:
    """Where DVC keeps content; asked of it, as a project or a machine may keep its cache elsewhere."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    cache = Path(done.stdout.strip()) if done.returncode == 0 else folder / ".dvc/cache"
    return cache / "files/md5" / md5[:2] / md5[2:]
