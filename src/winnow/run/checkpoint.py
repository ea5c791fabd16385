"""Where checkpoints lie: in .winnow/checkpoints/<stage>-<fingerprint>/, outside DVC's outputs, two generations of each.

The fingerprint is of parameters, inputs, code, device and threads: the same command goes on after a kill, and a changed
parameter never goes on with what it did not begin. The folder goes away when the stage ends well, and with it those of
the same stage that nobody works in; `winnow clean` removes the rest. The name of a checkpoint holds its checksum.
"""

import contextlib
import functools
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.fingerprint import fingerprint
from winnow.run.work import Work
from winnow.system import locks
from winnow.tracking import state_folder
from winnow.train.checkpoint import Keeper, reached
from winnow.train.packing import from_bytes, to_bytes

GENERATIONS = 2
NAME = re.compile(r"(\d+)-([0-9a-f]{64})\.safetensors")
STANDS_ON = {  # sections of params.yaml, as in dvc.yaml
    "search": ("task", "seed", "space", "search", "data"),
    "select": ("task", "seed", "space", "search", "select", "retrain", "data"),
    "retrain": ("task", "space", "retrain", "data"),
}


@contextlib.contextmanager
def checkpoints(work: Work, *inputs: Path, name: str = "", **more: Any) -> Iterator[Keeper]:
    """What keeps the state of the stage, as `name` (the stage's own unless given), and brings back what was kept.

    `inputs` are files below the work's folder whose content matters, `more` is JSON that does; splits and parameters
    are counted anyway.
    """
    seconds = work.params.runtime.checkpoint_seconds
    if not seconds:
        yield Keeper()
        return
    stage = name or work.stage
    folder = state_folder(work.folder) / "checkpoints" / f"{stage}-{_basis(work, inputs, more)}"
    with hold(folder) as ours:
        if not ours:
            work.say("  another process runs this stage by the same parameters: this one keeps no checkpoints")
            yield Keeper()
            return
        try:
            yield Keeper(functools.partial(save, folder), newest(folder, work.say), seconds)
        except BaseException:
            if not generations(folder):
                shutil.rmtree(folder)
            raise
        for other in folder.parent.glob(f"{stage}-????????????"):
            remove(other, busy=other == folder)


def _basis(work: Work, inputs: tuple[Path, ...], more: dict[str, Any]) -> str:
    params = work.params.model_dump(mode="json")
    params["retrain"].pop("seeds" if work.stage == "retrain" else "", None)  # one seed, whatever the others are
    gpu = torch.cuda.get_device_name(work.device) if work.device.type == "cuda" else ""
    return fingerprint(
        stage=work.stage,
        params={section: params[section] for section in STANDS_ON[work.stage]},
        splits={split: about["digest"] for split, about in read_manifest(work.folder / files.SPLITS)["splits"].items()},
        inputs={str(path): _digest(work.folder / path) for path in inputs},
        outside=dict(work.outside),
        more=more,
        machine=[str(work.device), gpu, torch.get_num_threads(), torch.__version__, work.params.runtime.processes],
    )


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[bool]:
    """Whether this process alone works in `folder`, which is made; ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as handle:
        ours = locks.take(handle)
        try:
            yield ours
        finally:
            if ours:
                locks.let_go(handle)


def remove(folder: Path, *, busy: bool = False) -> bool:
    """Delete a folder of checkpoints, unless a process works in it that is not ours (`busy`: it is); whether it did."""
    with contextlib.nullcontext(True) if busy else hold(folder) as ours:
        if ours:
            shutil.rmtree(folder, ignore_errors=True)
        return ours


def save(folder: Path, state: dict[str, Any]) -> None:
    """One more checkpoint, whole and on the disk, and none but the newest two."""
    data = to_bytes(state)
    before = generations(folder)
    number = _number(before[-1]) + 1 if before else 1
    path = folder / f"{number:06d}-{hashlib.sha256(data).hexdigest()}.safetensors"
    with files.atomic(path) as temporary, temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    for old in [*before, path][:-GENERATIONS]:
        old.unlink()


def newest(folder: Path, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The newest checkpoint that is whole; None without one. Says where it goes on, and what is damaged."""
    for left in folder.glob(".*"):  # by a killed process, half-written
        left.unlink()
    for path in reversed(generations(folder)):
        data = path.read_bytes()
        named = NAME.fullmatch(path.name)
        if named and hashlib.sha256(data).hexdigest() == named[2]:
            state = from_bytes(data)
            say(f"  going on with {folder.name} from checkpoint {_number(path)}: {reached(state)}")
            return state
        older = "the one before is taken" if len(generations(folder)) > 1 else "and the only one, the stage begins anew"
        say(f"  checkpoint {_number(path)} of {folder.name} is damaged (its checksum differs): {older}")
        path.unlink()
    return None


def generations(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), key=_number)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[0])
