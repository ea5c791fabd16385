"""A further process of a stage that trains in several (`processes`): it trains along, writes nothing, and ends with it.

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
from winnow.run.processes import basis, ready, threads
from winnow.run.progress import Shown
from winnow.run.supernet import trained
from winnow.run.work import Work, device_of, final_space, promise
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
    device = device_of(params)
    if device.type == "cuda":
        device = torch.device("cuda", (device.index or 0) + which)
    promise(threads(params))
    work = Work(stage, params, folder, device, Run(stage, None))
    ready(meeting, which).touch()
    with ranks.joined(meeting, which, params.runtime.processes, device):
        if ranks.handed_on(None, device) != basis(work):
            raise Refused("runtime.processes: the processes see different data or code; start the stage again")
        keeper = Keeper(found=from_bytes(ranks.handed_on(None, device)))
        with Shown() as shown:
            if stage == "search":
                trained(work, shown, keeper)
            else:
                space = final_space(params, folder)
                arch = files.read_architecture(folder / files.ARCHITECTURE, space, params.space.name)
                train_child(work, arch, training_split(work), told["seed"], shown, "", keeper)


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
