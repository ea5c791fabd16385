"""Started by torchrun, or by another launcher that sets its variables: which of how many processes this is."""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from winnow.core.errors import Refused


@dataclass(frozen=True)
class Launch:
    """Counted from 0: `which` of `count` processes, and `here` of the `beside` that are on this machine."""

    which: int
    count: int
    here: int
    beside: int

    @property
    def near(self) -> bool:
        """Whether all are on this machine."""
        return self.beside == self.count


def launch(variables: Mapping[str, str] = os.environ) -> Launch | None:
    """As RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say; None without them, or where they say one process.

    Without the two local ones all are taken to be on this machine. Refused where they make no sense, or where
    MASTER_ADDR and MASTER_PORT, by which processes find each other, are missing.
    """
    if not {"RANK", "WORLD_SIZE"} <= variables.keys():
        return None
    which, count = (_number(variables, name) for name in ("RANK", "WORLD_SIZE"))
    here = _number(variables, "LOCAL_RANK") if "LOCAL_RANK" in variables else which
    beside = _number(variables, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in variables else count
    if not (which < count and here < beside <= count):
        raise Refused(
            f"RANK {which} of WORLD_SIZE {count}, LOCAL_RANK {here} of LOCAL_WORLD_SIZE {beside}: ranks count "
            "from 0, and are below their number; torchrun sets all four"
        )
    if count > 1 and (lacking := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not variables.get(name)]):
        raise Refused(
            f"WORLD_SIZE is {count}, and {' and '.join(lacking)} not set: start winnow by torchrun, or unset WORLD_SIZE"
        )
    return Launch(which, count, here, beside) if count > 1 else None


def tell(sentence: str, variables: Mapping[str, str] = os.environ) -> None:
    """Why this process ends, to the file that torchrun names for it: its summary, which comes last, repeats it."""
    if path := variables.get("TORCHELASTIC_ERROR_FILE"):
        with contextlib.suppress(OSError):  # the sentence is printed as well
            Path(path).write_text(json.dumps({"message": sentence, "timestamp": int(time.time())}), encoding="utf-8")


def _number(variables: Mapping[str, str], name: str) -> int:
    text = variables[name]
    if not text.isdecimal():
        raise Refused(f"{name} takes a whole number, as torchrun sets it, not {text!r}")
    return int(text)
