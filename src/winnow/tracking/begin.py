"""What a run says first: where it goes, what it was given, and where it came from. Standard library only."""

import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from winnow.core.errors import Refused
from winnow.system.addresses import redact
from winnow.tracking import facts

LAST = ("evaluate", "study")  # stages with which a pipeline has ended


class Tracking(Protocol):
    """The `tracking` section of params.yaml."""

    enabled: bool
    uri: str | None
    experiment: str
    required: bool
    wandb: bool
    system_metrics: bool
    registered_model: str


def first_event(
    stage: str, params: Mapping[str, Any], root: Path, tracking: Tracking, upstream: Sequence[Path]
) -> dict[str, Any]:
    """All that is known of a run before it works; no passwords."""
    git, environment = facts.git(root), facts.environment()
    refused = git.pop("refused", None)
    digest = facts.pipeline_id(params, git.get("commit"), Path(os.environ.get("DVC_ROOT") or root))
    records = {path.stem: _read_record(path) for path in upstream if path.is_file()}
    models = [model for record in records.values() for model in record.get("models") or []]
    tags = {
        "winnow.stage": stage,
        "winnow.pipeline_id": digest,
        "winnow.pid": str(os.getpid()),
        **facts.environment_tags(environment),
        **{f"winnow.upstream.{name}": record["run_id"] for name, record in records.items() if record.get("run_id")},
    }
    if lock := facts.file_digest(root / "dvc.lock"):
        tags["winnow.dvc_lock"] = lock
    if refused:
        tags["winnow.git.refused"] = refused
        say(f"warning: this run names no commit, git refuses: {refused}")
    if name := os.environ.get("DVC_EXP_NAME"):
        tags["winnow.dvc_experiment"] = name
    return {
        "stage": stage,
        "title": facts.title(params, digest),
        "pipeline_id": digest,
        "experiment": tracking.experiment,
        "last": stage in LAST,
        "required": tracking.required,
        "wandb": tracking.wandb,
        "system_metrics": tracking.system_metrics,
        "user": _user(),
        "command": redact(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        "params": facts.flatten(params),
        "model_id": next((model["model_id"] for model in models if model.get("registered")), None),
        "git": git,
        "environment": environment,
        "tags": tags,
    }


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    except (ValueError, RecursionError):
        pass
    raise Refused(f"{path} is damaged: run `winnow {path.stem.partition('-')[0]}` again")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


def say(text: str) -> None:
    print(redact(text), file=sys.stderr, flush=True)
