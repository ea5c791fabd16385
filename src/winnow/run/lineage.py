"""What each stage's record, artifacts/runs/<stage>.json, says of its run: what outside it saw, what it read and wrote.

By it, a stage notices that something changed since a stage before it ran, and the report shows this run and no other.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.run.outside import READS, changed_since
from winnow.run.revision import md5_of

RUNS = Path("artifacts/runs")
STAGES = ("prepare", "search", "select", "tune", "retrain", "evaluate")
HANDED = {  # what the stages after it read, by stage
    "prepare": ("data/splits/manifest.json",),
    "search": ("artifacts/search",),
    "select": ("artifacts/architecture.json", "artifacts/start.safetensors", "artifacts/front.json"),
    "tune": ("artifacts/tune/recipe.json",),
    "retrain": ("artifacts/retrain/{seed}/model.safetensors",),
}
SHOWN = {  # and what the report shows of it
    "prepare": ("reports/prepare.json",),
    "search": ("reports/search.json", "reports/search.csv", "reports/weights.csv", "reports/trials.csv"),
    "select": (
        "reports/select.json",
        "reports/select.csv",
        "reports/architecture.svg",
        "artifacts/selections.json",
        "artifacts/evidence.parquet",
    ),
    "tune": ("reports/tune.json", "reports/tune.csv", "reports/importance.csv", "artifacts/tune/trials.parquet"),
    "retrain": (
        "reports/retrain/{seed}.json",
        "reports/retrain/{seed}.csv",
        "artifacts/retrain/{seed}/rounds.parquet",
    ),
}


def runs_of(params: Params) -> list[str]:
    """The runs that make one result, in order, by the names of their records: "retrain-0" is one of a seed."""
    return [
        name
        for stage in STAGES
        for name in ([f"retrain-{s}" for s in params.retrain.seeds] if stage == "retrain" else [stage])
    ]


def record_of(folder: Path, name: str) -> dict[str, Any]:
    """The record of a run; empty where it has not run here. Refused where it is damaged."""
    path = folder / RUNS / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key, {}), dict) for key in ("outside", "read", "wrote", "params", "joules")
    ):
        raise Refused(f"{path} is damaged: run `winnow {_stage(name)}` again")
    return record


def check_upstream(params: Params, folder: Path, upstream: Sequence[str]) -> None:
    """Refused where something outside has changed since a stage of `upstream` saw it: its result is not of that."""
    for name in upstream:
        changed = stale(params, folder, name)
        if changed:
            raise Refused(
                f"{', '.join(changed)} changed since {_stage(name)}: run `winnow {_stage(name)}` again, and what "
                "follows (or `dvc repro`)"
            )


def stale(params: Params, folder: Path, name: str) -> list[str]:
    """The parameters whose outside content is another than run `name` saw; none where it has not run here."""
    record = record_of(folder, name)
    return changed_since(record["outside"], params, folder, READS[_stage(name)]) if "outside" in record else []


def read_by(folder: Path, upstream: Sequence[str]) -> dict[str, str]:
    """The digests of what the runs of `upstream` hand on, by path, as DVC names content."""
    return _md5s(folder, [_filled(path, name) for name in upstream for path in HANDED[_stage(name)]])


def written_by(folder: Path, name: str) -> dict[str, str]:
    """The digests of what run `name` hands on and shows, by path."""
    stage = _stage(name)
    paths = [*HANDED.get(stage, ()), *SHOWN.get(stage, ())]
    return _md5s(folder, [_filled(path, name) for path in paths])


def of_this_run(folder: Path, name: str) -> str:
    """Why what run `name` shows is not of the result in `folder`, in a few words; empty where it is."""
    record = record_of(folder, name)
    if "wrote" not in record:
        return f"there is no {RUNS}/{name}.json: its stage has not run here"
    for path, md5 in record["wrote"].items():
        if not (folder / path).exists():
            return f"there is no {path}: its stage has not run here"
        if md5_of(folder / path) != md5:
            return f"{path} is not what {_stage(name)} wrote"
    for path, md5 in record["read"].items():
        if (folder / path).exists() and md5_of(folder / path) != md5:
            return f"{path} has changed since {_stage(name)} read it: run `winnow {_stage(name)}` again"
    return ""


def _md5s(folder: Path, paths: Sequence[str]) -> dict[str, str]:
    return {path: md5_of(folder / path) for path in paths if (folder / path).exists()}


def _stage(name: str) -> str:
    return name.partition("-")[0]


def _filled(path: str, name: str) -> str:
    return path.format(seed=name.partition("-")[2])
