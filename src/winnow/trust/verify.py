"""Run stages again in a folder of their own and compare with what dvc.lock recorded; nothing of the project changes.

Each stage gets the best of four verdicts that holds. `BITS`: every output has the recorded bytes, but for what
`trust.same.EXCEPTIONS` names. `BAND`: its numbers lie within what other seeds would give, and it decided the same.
`DECISION`: it decided the same. `DIFFERS`: none of these, or it failed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.run import files
from winnow.run.found_at import PROJECT
from winnow.run.outside import INPUTS, PATH, Named, named, resolved
from winnow.run.revision import LOCK, md5_of, read_lock, text_at
from winnow.trust.circumstances import Circumstances, circumstances
from winnow.trust.numbers import decided, within_band
from winnow.trust.same import DIFFERS as OUTPUT_DIFFERS
from winnow.trust.same import FINE, same

BITS, BAND, DECISION, DIFFERS = "bits equal", "metrics within the seed band", "same decision", "differs"
STAGES = ("inputs", "prepare", "search", "select", "tune", "retrain", "evaluate")
STUDY = "study"  # no stage of DVC: what it left is compared with as it lies here
LEFT_BY_STUDY = ("artifacts/study.parquet", "reports/study.json", "reports/study.csv", "reports/study.svg")


@dataclass
class Checked:
    """A stage that ran again. `outputs` is (verdict, a word on it) by name; `outside` the numbers beyond the band."""

    verdict: str
    seconds: float
    outputs: dict[str, tuple[str, str]] = field(default_factory=dict)
    outside: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Certificate:
    circumstances: Circumstances
    stages: dict[str, Checked]

    @property
    def promised(self) -> tuple[str, ...]:
        """What docs/determinism.md promises under these circumstances."""
        return (BITS,) if self.circumstances.alike else (BITS, BAND, DECISION)

    @property
    def kept(self) -> bool:
        return all(stage.verdict in self.promised for stage in self.stages.values())


def verify(
    params: Params,
    folder: Path,
    scratch: Path,
    names: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Certificate:
    """Run the stages `names` (none: all that dvc.lock has) again in `scratch`, an empty folder; "study" if it is named.

    A stage reads what the stages before it made just now where they run too, else what lies in the project. Refused
    where dvc.lock lacks a stage, or what a stage reads is neither here nor made again.
    """
    lock = _lock(folder)
    lock |= {STUDY: _study(folder, lock)} if STUDY in names else {}
    chosen = [name for name in _ordered(lock) if not names or name.partition("@")[0] in names]
    _check(lock, chosen, names)
    _lay_out(params, folder, scratch, lock, chosen)
    stages = {}
    for name in chosen:
        _check_inputs(lock[name], name, scratch)
        say(f"{name} …")
        began = time.monotonic()
        failure = _run(name, folder, scratch)
        stages[name] = checked = _compare(name, lock[name], folder, scratch, failure)
        checked.seconds = time.monotonic() - began
        say(f"{name}: {checked.verdict} ({checked.seconds:.0f} s){f'; {checked.note}' if checked.note else ''}")
    return Certificate(circumstances(params, folder, {name: lock[name] for name in chosen}), stages)


def _lock(folder: Path) -> dict[str, Any]:
    """The committed lock file where there is a repository, else the one that lies here."""
    here = folder / LOCK
    text = text_at(folder, "HEAD", LOCK) or (here.read_text(encoding="utf-8") if here.is_file() else None)
    lock = read_lock(text)
    if not lock:
        raise Refused(f"there is no {LOCK} to compare with: run `dvc repro` and commit it with the metrics")
    return lock


def _ordered(lock: dict[str, Any]) -> list[str]:
    order = (*STAGES, STUDY)
    known = [name for name in lock if name.partition("@")[0] in order]
    return sorted(known, key=lambda name: order.index(name.partition("@")[0]))


def _study(folder: Path, lock: dict[str, Any]) -> dict[str, Any]:
    """What `winnow study` left here, as dvc.lock has a stage: every cell of it is computed again."""
    outs = [{"path": path, "md5": md5_of(folder / path)} for path in LEFT_BY_STUDY if (folder / path).is_file()]
    if not outs:
        raise Refused(f"there is no {LEFT_BY_STUDY[0]} to compare with: run `winnow study` first")
    splits = [out for out in lock.get("prepare", {}).get("outs", []) if out["path"].startswith("data/")]
    return {"cmd": "winnow study", "deps": splits, "outs": outs}


def _check(lock: dict[str, Any], chosen: Sequence[str], names: Sequence[str]) -> None:
    there = {name.partition("@")[0] for name in chosen}
    if missing := [name for name in names or STAGES if name not in there]:
        raise Refused(
            f"{LOCK} has no stage {missing[0]!r} (it has {', '.join(lock)}): run `dvc repro` and commit it, or name "
            "the stages to verify"
        )


def _lay_out(params: Params, folder: Path, scratch: Path, lock: dict[str, Any], chosen: Sequence[str]) -> None:
    """`scratch` gets the parameters, untracked and with paths that hold there, and links to what will not be made.

    Addresses stay behind: with their passwords, and because the team's study is not this one.
    """
    content = params.model_dump()
    content["tracking"] |= {"enabled": False, "uri": None}
    content["trials"]["storage"] = None
    for each in named(params, folder):
        if each.kind == PATH:
            _bring(each, content, folder, scratch)
    files.write_text(scratch / "params.yaml", yaml.safe_dump(content))
    for name in lock.keys() - set(chosen):
        for out in lock[name]["outs"]:
            source, target = folder / out["path"], scratch / out["path"]
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source.resolve())


def _bring(each: Named, content: Any, folder: Path, scratch: Path) -> None:
    """Let a path hold in `scratch`. What the user's own code is told stays as it is, with a link in its place."""
    place = resolved(folder, each.value, each.key).resolve()
    if each.free and not Path(each.value).is_absolute() and ".." not in Path(each.value).parts:
        (scratch / each.value).parent.mkdir(parents=True, exist_ok=True)
        (scratch / each.value).symlink_to(place)
    else:
        _put(content, each.key.split("."), str(place))


def _put(content: Any, parts: Sequence[str], value: str) -> None:
    """Set a value in nested content; a study's changes have dotted keys, "space.options"."""
    for i in range(1, len(parts) + 1):
        key: Any = int(parts[0]) if isinstance(content, list) else ".".join(parts[:i])
        if isinstance(content, list) or key in content:
            if i == len(parts):
                content[key] = value
            else:
                _put(content[key], parts[i:], value)
            return


def _check_inputs(stage: dict[str, Any], name: str, scratch: Path) -> None:
    for dep in stage["deps"]:
        if Path(dep["path"]).parent == INPUTS:  # for DVC alone: a stage looks for itself
            continue
        if dep["path"].startswith(("data/", "artifacts/")) and not (scratch / dep["path"]).exists():
            raise Refused(
                f"stage {name} reads {dep['path']}, which is not here: get it (dvc pull), or verify all stages"
            )


def _run(name: str, folder: Path, scratch: Path) -> str:
    """Why the stage did not end well; empty where it did. Only winnow's own stages are run, whatever `cmd` says."""
    stage, _, seed = name.partition("@")
    command = [
        sys.executable,
        "-m",
        "winnow",
        stage,
        "--folder",
        str(scratch.resolve()),
        *(["--seed", seed] if seed else []),
    ]
    left_out = ("DVC_ROOT", "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID")  # what was begun elsewhere is not gone on with
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment[PROJECT] = str(folder.resolve())  # whose repository has what evaluate.against names
    log = scratch / f"{name}.log"
    with log.open("w") as out:
        status = subprocess.run(command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"status {status}: {lines[-1] if lines else 'nothing said'}" if status else ""


def _compare(name: str, stage: dict[str, Any], folder: Path, scratch: Path, failure: str) -> Checked:
    if failure:
        return Checked(DIFFERS, 0.0, note=failure)
    outputs, references = {}, {}
    for out in stage["outs"]:
        path, md5 = out["path"], out.get("md5", "")
        references[path] = _reference(folder, scratch, path, md5)
        outputs[path] = same(path, scratch / path, md5, references[path])
    checked = Checked(BITS, 0.0, outputs)
    if all(verdict in FINE for verdict, _ in outputs.values()):
        return checked
    if name == STUDY:  # its cells are of many parameters: no spread of seeds is theirs
        checked.verdict = DIFFERS
        return checked
    checked.outside = within_band(references, scratch, _reference_of_spread(folder))
    decision = decided(references, scratch)
    if any(verdict == OUTPUT_DIFFERS and word == "was not written" for verdict, word in outputs.values()):
        checked.verdict, checked.note = DIFFERS, "an output is missing"
    elif not checked.outside and decision is not False:
        checked.verdict = BAND
    else:
        checked.verdict = DECISION if decision else DIFFERS
    return checked


def _reference(folder: Path, scratch: Path, name: str, md5: str) -> Path | None:
    """The recorded file: as it lies in the project or is committed, if it is still the one; None where it is not."""
    if (folder / name).exists() and md5_of(folder / name) == md5:
        return folder / name
    text = text_at(folder, "HEAD", name)
    if text is None:
        return None
    kept = scratch / "recorded" / name
    files.write_text(kept, text)
    return kept if md5_of(kept) == md5 else None


def _reference_of_spread(folder: Path) -> dict[str, Any]:
    path = folder / files.REPORTS / "evaluate.json"
    content = files.read_json(path, "evaluate") if path.is_file() else {}
    return content if isinstance(content, dict) else {}
