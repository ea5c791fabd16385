"""A dvc.lock and a commit for a finished tiny pipeline, as `dvc repro` would leave them."""

import shutil
import subprocess
from pathlib import Path

import yaml

from tests.stages.tiny import ROOT
from winnow.run.revision import md5_of


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", folder, "-c", "user.name=t", "-c", "user.email=t@t", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def locked_copy(finished: Path, folder: Path) -> Path:
    """A copy of the project with its lock file committed beside params.yaml and reports."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    return committed(folder)


def committed(folder: Path) -> Path:
    shutil.copy(ROOT / "dvc.yaml", folder)
    shutil.copy(ROOT / ".gitignore", folder)
    write_lock(folder)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "results")
    return folder


def write_lock(folder: Path) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    stages = {}
    for name, stage in yaml.safe_load((folder / "dvc.yaml").read_text())["stages"].items():
        for seed in params["retrain"]["seeds"] if "matrix" in stage else [None]:
            full = name if seed is None else f"{name}@{seed}"
            paths = [path.replace("${item.seed}", str(seed)) for path in _outs(stage)]
            outs = [{"path": path, "md5": md5_of(folder / path)} for path in paths]
            deps = [
                {"path": path, "md5": md5_of(ROOT / path)} for path in stage.get("deps", ()) if path.startswith("src")
            ]
            deps += [{"path": path} for path in stage.get("deps", ()) if path.startswith(("data", "artifacts"))]
            held = {key: _at(params, key) for key in stage.get("params", ())}
            stages[full] = {"cmd": stage["cmd"], "deps": deps, "params": {"params.yaml": held}, "outs": outs}
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def _outs(stage: dict) -> list[str]:
    entries = [*stage["outs"], *stage.get("metrics", ()), *stage.get("plots", ())]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def _at(params: dict, key: str) -> object:
    for part in key.split("."):
        params = params[part]
    return params
