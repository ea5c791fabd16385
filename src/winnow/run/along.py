"""A further process of a stage that trains in several (`processes`): it trains along, writes nothing, and ends with it.

Started by the stage:

python -m winnow.run.along <stage> <meeting> <which>, and what to do as the first line of standard input, as JSON.
"""

import json
import os
import sys
import threading
from pathlib import Path
from typing import IO, NoReturn

import torch

from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.run import files
from winnow.run.children import train_child, training_split
from winnow.run.imports import on_path
from winnow.run.processes import basis, check_room, ready, threads, trains_together
from winnow.run.progress import Shown
from winnow.run.supernet import trained
from winnow.run.work import Work, device_of, final_space, promise, refusals
from winnow.system.launched import Launch
from winnow.tracking import Run
from winnow.train import ranks
from winnow.train.checkpoint import Keeper
from winnow.train.packing import from_bytes


def follow(stage: str, meeting: Path, which: int, pipe: IO[str]) -> None:
    """Train along as process `which` of `stage`; what to do is the first line of `pipe`, which ends with the stage."""
    told = json.loads(pipe.readline())
    threading.Thread(target=_end_with, args=(pipe,), daemon=True).start()
    sys.path[:] = told["path"]
    params, folder = Params.model_validate(told["params"]), Path(told["folder"])
    on_path(folder)
    work = _work(stage, params, folder, which, threads(params))
    ready(meeting, which).touch()
    count = params.runtime.processes
    with ranks.joined(ranks.in_folder(meeting, count), which, count, work.device, basis(work)):
        _along(work, told["seed"])


def beside(stage: str, params: Params, folder: Path, launch: Launch, seed: int | None = None) -> None:
    """The same as one that a launcher started, which has read params.yaml in a folder of its own."""
    work = _work(stage, params, folder, launch.here, threads(params, launch))
    if not trains_together(work):
        return
    check_room(launch.beside, work.device)
    with ranks.joined(ranks.at_the_launchers, launch.which, launch.count, work.device, basis(work), near=launch.near):
        _along(work, seed)


def _work(stage: str, params: Params, folder: Path, device_number: int, count: int) -> Work:
    device = device_of(params)
    if device.type == "cuda":
        device = torch.device("cuda", (device.index or 0) + device_number)
    promise(count)
    return Work(stage, params, folder, device, Run(stage, None))


def _along(work: Work, seed: int | None) -> None:
    keeper = Keeper(found=from_bytes(ranks.handed_on(None, work.device)))
    with Shown() as shown, refusals(work.params):
        if work.stage == "search":
            trained(work, shown, keeper)
            return
        assert seed is not None
        space = final_space(work.params, work.folder)
        arch = files.read_architecture(work.folder / files.ARCHITECTURE, space, work.params.space.name)
        train_child(work, arch, training_split(work), seed, shown, "", keeper)


def _end_with(pipe: IO[str]) -> NoReturn:
    """End this process when the other end of `pipe` is closed, as it is when the stage ends in whatever way."""
    pipe.read()
    os._exit(1)


if __name__ == "__main__":
    name, place, number = sys.argv[1:]
    try:
        follow(name, Path(place), int(number), sys.stdin)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        sys.exit(2)
