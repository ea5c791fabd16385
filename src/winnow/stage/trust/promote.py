"""From candidate to champion: only through the gate, and only the model whose metrics passed it."""

from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.stage import files
from winnow.stage.params import Params
from winnow.stage.trust.gate import Verdict
from winnow.stage.trust.revision import LOCK, commit_of, md5_of, outs_of, read_lock


def promote(params: Params, folder: Path, verdict: Verdict) -> tuple[str, str | None]:
    """The version that became champion, and the one that was it before (None: none).

    Refused where the gate failed, or where what it judged is not the version that stage evaluate registered here.
    """
    if not verdict.passed:
        raise Refused(
            f"not promoted: {len(verdict.failures)} checks of the gate against {verdict.against} failed, the first is "
            f"{verdict.failures[0].metric} ({verdict.failures[0].why})"
        )
    name = params.tracking.registered_model
    version = registered(folder, name)
    _unchanged(folder)
    from winnow.stage.tracking.registry import promote as pass_on  # MLflow takes seconds to import

    told = {"winnow.gate.against": verdict.against, "winnow.gate.commit": verdict.commit}
    try:
        told["winnow.gate.of"] = commit_of(folder, "HEAD")
    except Refused:  # it could be compared, so there is a repository; it may have no HEAD of its own
        told["winnow.gate.of"] = "unknown"
    return version, pass_on(folder, params.tracking, version, told)


def registered(folder: Path, name: str) -> str:
    """The version of model `name` that stage evaluate registered in this working tree; Refused where there is none."""
    record: Any = files.read_json(folder / files.RUNS / "evaluate.json", "evaluate")
    models = (record.get("models") if isinstance(record, dict) else None) or []
    found = [m.get("version") for m in models if isinstance(m, dict) and m.get("registered") == name]
    if not found or found[-1] is None:
        raise Refused(
            f"{files.RUNS}/evaluate.json names no version of model {name!r}: run `winnow evaluate` with "
            "tracking.enabled and a store that answers"
        )
    return str(found[-1])


def _unchanged(folder: Path) -> None:
    """Refused where metrics and record are not those that one run of stage evaluate left."""
    path = folder / LOCK
    if not path.is_file():
        return
    outs = outs_of(read_lock(path.read_text(encoding="utf-8", errors="replace")))
    for out in (files.REPORTS / "evaluate.json", files.RUNS / "evaluate.json"):
        if out.as_posix() in outs and md5_of(folder / out) != outs[out.as_posix()]:
            raise Refused(f"{out} is not the one that {LOCK} recorded: run `dvc repro`, so that both are of one run")
