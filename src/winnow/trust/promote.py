"""From candidate to champion: only through the gate, and only the model whose metrics passed it."""

from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.run import files
from winnow.run.revision import LOCK, changes, commit_of, md5_of, outs_of, read_lock, text_at
from winnow.trust.gate import Verdict


def promote(params: Params, folder: Path, verdict: Verdict) -> tuple[str, str | None]:
    """The version that became champion, and the one that was it before (None: none).

    Refused where the gate did not pass, where what it judged is not the version that stage evaluate registered here,
    and where HEAD, by which the version is tagged, does not hold what was judged.
    """
    if not verdict.passed:
        first = verdict.failures[0]
        raise Refused(
            f"not promoted: {len(verdict.failures)} checks of the gate against {verdict.against} did not pass, the "
            f"first is {first.metric} ({first.why})"
        )
    name = params.tracking.registered_model
    version = registered(folder, name)
    _unchanged(folder)
    _committed(folder)
    from winnow.tracking.registry import promote as pass_on  # MLflow takes seconds to import

    told = {"winnow.gate.against": verdict.against, "winnow.gate.commit": verdict.commit}
    told["winnow.gate.of"] = commit_of(folder, "HEAD")
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


def _committed(folder: Path) -> None:
    """Refused where HEAD is not what was judged: a lock file that is not in it, or changes beside it."""
    if text_at(folder, commit_of(folder, "HEAD"), LOCK) is None:
        raise Refused(f"not promoted: {LOCK} is not committed, so no commit says where the model comes from: commit it")
    if changed := changes(folder):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise Refused(f"not promoted: {changed[0]}{more} not as in the commit: commit what was judged, then promote")
