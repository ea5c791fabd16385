"""A stage's training in `runtime.processes` processes (`winnow.train.ranks`).

The stage itself is the first: it alone reads checkpoints, writes and tracks. It starts the others on this machine, each
with a core or a device of its own; or all were started by torchrun, which runs the stage in the first of them. The
others train along and leave nothing (`winnow.run.along`). They end with the stage, however it ends; where one of them
ends before the training does, the stage is refused, and the same command goes on from its last checkpoint.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from winnow.config.methods import strategy, trainer
from winnow.config.params import Params
from winnow.config.reading import check_params
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.checkpoint import STANDS_ON
from winnow.run.fingerprint import code_digest, fingerprint
from winnow.run.outside import READS, digests
from winnow.run.revision import md5_of
from winnow.run.work import Work
from winnow.system import machine
from winnow.system.launched import Launch
from winnow.system.stop import how_it_ended
from winnow.train import ranks
from winnow.train.checkpoint import Keeper
from winnow.train.packing import to_bytes


@contextlib.contextmanager
def together(work: Work, keeper: Keeper, seed: int | None = None, launch: Launch | None = None) -> Iterator[None]:
    """Inside, `runtime.processes` train what stage search trains, or retrain by `seed`; `keeper` is this stage's.

    With `launch` they are there already. Refused where the machine has fewer cores or devices, where they disagree, and
    where one of the others ends.
    """
    count = work.params.runtime.processes
    if count == 1 or not trains_together(work):
        yield
        return
    before = torch.get_num_threads()
    start = contextlib.nullcontext(ranks.at_the_launchers) if launch else _started(work, seed)
    check_room(launch.beside if launch else count, work.device)
    try:
        with start as meeting:
            torch.set_num_threads(threads(work.params, launch))
            near = launch is None or launch.near
            with ranks.joined(meeting, 0, count, work.device, basis(work), near=near):
                ranks.handed_on(to_bytes(keeper.given()), work.device)
                yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _started(work: Work, seed: int | None) -> Iterator[Callable[[], Any]]:
    """The further processes, started here; yields where they meet once all are ready."""
    count = work.params.runtime.processes
    with tempfile.TemporaryDirectory(prefix="winnow-") as passing:
        meeting = Path(passing)
        others = [_Other(work, which, meeting, seed) for which in range(1, count)]
        try:
            while not all(other.here() for other in others):
                time.sleep(0.05)
            yield ranks.in_folder(meeting, count)
        except (RuntimeError, ranks.Parted) as error:  # what torch says of a connection that broke
            if ended := next((said for other in others if (said := other.ended(wait=5))), None):
                raise Refused(ended) from error
            raise
        finally:
            for other in others:
                other.end()


def trains_together(work: Work) -> bool:
    """Whether the stage has a training that several processes share."""
    steps = [*(step.strategy for step in work.params.search.before), trainer(work.params)[0]]
    return work.stage == "retrain" or all(strategy(name).shared for name in steps)


def launched(params: Params, launch: Launch) -> Params:
    """The parameters under a launcher: as many processes as it started. Refused where they say another number."""
    said = params.runtime.processes
    if said not in (1, launch.count):
        raise Refused(
            f"runtime.processes is {said}, and {launch.count} processes were started: leave it out, or start {said}"
        )
    content = params.model_dump(mode="json")
    return check_params({**content, "runtime": {**content["runtime"], "processes": launch.count}})


def threads(params: Params, launch: Launch | None = None) -> int:
    """Those of each process. What torchrun sets OMP_NUM_THREADS to is for each already."""
    told = launch is not None and "OMP_NUM_THREADS" in os.environ
    share = 1 if told else launch.beside if launch else params.runtime.processes
    return params.runtime.threads or max(1, machine.threads() // share)


def check_room(count: int, device: torch.device) -> None:
    """Refused where this machine has fewer cores or devices than `count` processes of one each."""
    there, what = (machine.usable_cores(), "cores") if device.type == "cpu" else (torch.cuda.device_count(), "devices")
    if count > there:
        raise Refused(f"runtime.processes is {count}, and here are {there} {what} for them: set {there} or fewer")


def basis(work: Work) -> dict[str, Any]:
    """What all have to agree on, in words for people."""
    splits = read_manifest(work.folder / files.SPLITS)["splits"]
    params = work.params.model_dump(mode="json")
    inputs = (files.ARCHITECTURE, files.START, files.RECIPE) if work.stage == "retrain" else ()
    return {
        "code (of winnow)": code_digest(),
        "torch": torch.__version__,
        "params.yaml": fingerprint(params=[params[section] for section in (*STANDS_ON[work.stage], "runtime")]),
        "data/splits": {name: splits[name]["digest"] for name in splits},
        **{str(path): md5_of(work.folder / path) for path in inputs if (work.folder / path).exists()},
        "code or files of your own": digests(work.params, work.folder, READS[work.stage]),
    }


class _Other:
    """One of the further processes, as the stage sees it."""

    def __init__(self, work: Work, which: int, meeting: Path, seed: int | None):
        self.which, self.says = which, meeting / f"{which}.txt"
        self.sign = ready(meeting, which)
        command = [sys.executable, "-P", "-m", "winnow.run.along", work.stage, str(meeting), str(which)]
        with self.says.open("w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": str(threads(work.params))},
            )
        # Down the pipe, since everybody on the machine can read arguments, and parameters may hold a password.
        told = {"params": work.params.model_dump(mode="json"), "path": sys.path, "folder": str(work.folder.resolve())}
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once: `here` will say so
            self.process.stdin.write(json.dumps({**told, "seed": seed}) + "\n")
            self.process.stdin.flush()

    def here(self) -> bool:
        """Whether it is ready to meet. Refused where it has ended."""
        if ended := self.ended(0):
            raise Refused(ended)
        return self.sign.exists()

    def ended(self, wait: float) -> str | None:
        """How it ended, in a sentence; None where it has not, `wait` seconds from now."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = self.process.wait(wait)
            lines = self.says.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            if status == 2 and lines:
                return lines[-1]
            said = f" ({lines[-1]})" if status > 0 and lines else ""
            return (
                f"runtime.processes: process {self.which} {how_it_ended(status)}{said}; what was finished is kept, "
                "the same command goes on from the last checkpoint"
            )
        return None

    def end(self) -> None:
        """Ask it to end, and wait until it has."""
        self.process.terminate()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()


def ready(meeting: Path, which: int) -> Path:
    """The file that says that process `which` is there."""
    return meeting / f"{which}.ready"
