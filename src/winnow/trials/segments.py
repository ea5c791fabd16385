"""Training in segments: a trial leaves all that a later one needs to go on, as if there had been no end in between.

The state is that of a checkpoint, with the optimiser's momentum and the order of the batches; so segments one after
another give the bits of one training by the same recipe. (EcoNAS' code begins each with momentum at zero.)
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.system.whole import atomic
from winnow.train.checkpoint import Keeper
from winnow.train.packing import from_bytes, to_bytes
from winnow.trials.outcome import Job


@dataclass(frozen=True)
class Segments:
    """States in `folder`, one file a trial that another may continue. They are not removed."""

    folder: Path

    def keeper(self, job: Job) -> Keeper:
        """Begins where the trial that `job` continues left off, and keeps what `job` leaves. Refused without that."""
        found = None if job.parent is None else _read(self._path(job.parent))
        return Keeper(partial(_write, self._path(job.number)), found, float("inf"))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.state"


def _write(path: Path, state: dict[str, Any]) -> None:
    data = to_bytes(state)
    try:
        with atomic(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise Refused(
            f"{path} cannot be written ({error.strerror or error}): make room; the same command goes on from there"
        ) from error


def _read(path: Path) -> Any:
    try:
        return from_bytes(path.read_bytes())
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{path}, which a network goes on from, cannot be read ({why}): begin the study anew") from error
