"""A stage's training in `runtime.processes` processes of this machine (`winnow.train.ranks`).

The stage itself is the first: it alone reads checkpoints, writes and tracks. It starts the others, each with a core or
a device of its own, which train along and leave nothing. They end with it, however it ends; where one of them ends
before the training does, the stage is refused, and the same command goes on from its last checkpoint.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from winnow.config.methods import strategy, trainer
from winnow.config.params import Params
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.fingerprint import code_digest
from winnow.run.work import Work
from winnow.system import machine
from winnow.system.stop import how_it_ended
from winnow.train import ranks
from winnow.train.checkpoint import Keeper
from winnow.train.packing import to_bytes


@contextlib.contextmanager
def together(work: Work, keeper: Keeper, seed: int | None = None) -> Iterator[None]:
    """Inside, `runtime.processes` train what stage search trains, or retrain by `seed`; `keeper` is this stage's.

    Refused where the machine has fewer cores or devices, and where one of the others ends.
    """
    count = work.params.runtime.processes
    if count == 1 or (work.stage == "search" and not _shared(work.params)):
        yield
        return
    _check_room(count, work.device)
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="winnow-") as passing:
        meeting = Path(passing)
        others = [_Other(work, which, meeting, seed) for which in range(1, count)]
        try:
            torch.set_num_threads(threads(work.params))
            while not all(other.here() for other in others):
                time.sleep(0.05)
            with ranks.joined(meeting, 0, count, work.device):
                ranks.handed_on(basis(work), work.device)
                ranks.handed_on(to_bytes(keeper.given()), work.device)
                yield
        except RuntimeError as error:  # what torch says of a connection that broke
            if ended := next((said for other in others if (said := other.ended(wait=5))), None):
                raise Refused(ended) from error
            raise
        finally:
            torch.set_num_threads(before)
            for other in others:
                other.end()


def _shared(params: Params) -> bool:
    names = [*(step.strategy for step in params.search.before), trainer(params)[0]]
    return all(strategy(name).shared for name in names)


def threads(params: Params) -> int:
    """Those of each process."""
    return params.runtime.threads or max(1, machine.threads() // params.runtime.processes)


def _check_room(count: int, device: torch.device) -> None:
    there, what = (machine.usable_cores(), "cores") if device.type == "cpu" else (torch.cuda.device_count(), "devices")
    if count > there:
        raise Refused(f"runtime.processes is {count}, and here are {there} {what} for them: set {there} or fewer")


def basis(work: Work) -> bytes:
    """What all have to agree on: the code and the data."""
    splits = read_manifest(work.folder / files.SPLITS)["splits"]
    return json.dumps([code_digest(), torch.__version__, {name: splits[name]["digest"] for name in splits}]).encode()


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
