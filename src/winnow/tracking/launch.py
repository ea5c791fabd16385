"""Whether a shipper serves a state folder, and starting one where none does. Standard library only."""

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import TextIO

from winnow.system import locks
from winnow.tracking.store import split_credentials

SHIPPER = "winnow.tracking.shipper"
# Run and experiment would beat explicit ids; warnings of other people's packages must not become errors.
NOT_OURS = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME", "PYTHONWARNINGS")
# What a connection may depend on: a shipper that was started with other settings is no help.
SETTINGS = re.compile(
    r"(?i)(MLFLOW|WANDB|DATABRICKS|AWS|AZURE|GOOGLE|PG|SSL|REQUESTS|CURL|HTTPS?_PROXY|ALL_PROXY|NO_PROXY)"
)


def lock_path(state: Path, uri: str) -> Path:
    """One shipper for one store as one user with the same settings."""
    settings = sorted(f"{k}={v}" for k, v in os.environ.items() if SETTINGS.match(k) and k not in NOT_OURS)
    told = "\0".join([uri, sys.executable, *settings])
    return state / f"shipper-{hashlib.sha256(told.encode()).hexdigest()[:10]}.lock"


def hold(path: Path) -> TextIO | None:
    """The lock, for as long as what is returned stays open; None where another process has it."""
    handle = open(path, "w")  # noqa: SIM115 - the caller keeps it
    if not locks.take(handle):
        handle.close()
        return None
    return handle


def ensure_shipper(state: Path, uri: str) -> bool:
    """Start a shipper unless one is there; True if one was started.

    The address goes by environment, since it may hold a password. The shipper gets a session of its own, out of reach
    of the terminal's Ctrl-C, and none of this process' files.
    """
    lock = lock_path(state, uri)
    handle = hold(lock)
    if handle is None:
        return False
    locks.let_go(handle)
    handle.close()
    clean, credentials = split_credentials(uri)
    environment = {key: value for key, value in os.environ.items() if key not in NOT_OURS}
    environment |= {"MLFLOW_TRACKING_URI": clean, "PYTHONUTF8": "1", **credentials}
    log, write = str(lock.with_suffix(".log")), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", SHIPPER, "serve", str(state), str(lock)],
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, write, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return True
