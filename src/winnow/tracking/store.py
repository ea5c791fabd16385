"""Where runs are kept: the state folder and the tracking address. Standard library only."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from winnow.core.errors import Refused
from winnow.system import locks
from winnow.system.addresses import public, read_address


def state_folder(root: Path) -> Path:
    """`.winnow` of the project. Under DVC the project is DVC_ROOT, since an experiment may run in a passing copy."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve() / ".winnow"


def sqlite_uri(path: Path) -> str:
    """The address of an SQLite file, whatever characters its path holds.

    SQLAlchemy cuts at a ? and decodes %; MLflow makes the folder of what follows "sqlite:///" without decoding it,
    and leaves addresses that name the driver alone.
    """
    quoted = str(path).replace("%", "%25").replace("?", "%3F")
    return f"{'sqlite' if quoted == str(path) else 'sqlite+pysqlite'}:///{quoted}"


def local_uri(state: Path) -> str:
    return sqlite_uri(state / "mlflow.db")


def portable_uri(uri: str, state: Path) -> str:
    """The address as files may carry it: without secrets, and the local store relative to the project."""
    return public(uri).replace(f"{sqlite_uri(state.parent)}/", "sqlite:///")


def choose_uri(configured: str | None, state: Path) -> str:
    """MLFLOW_TRACKING_URI, `tracking.uri`, or SQLite in the state folder; relative paths start at the project.

    Refused where it holds a password whose characters are not encoded, or where runs would be lost.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    name, uri = ("MLFLOW_TRACKING_URI", given) if given else ("tracking.uri", configured or local_uri(state))
    if "://" in uri:
        read_address(uri, name)
    if re.match(r"sqlite(\+\w+)?:/*(\?|$|.*:memory:|.*mode=memory)", uri):
        told = "a database in memory, which ends with its process: name a file, as sqlite:///runs.db"
        raise Refused(f"{name} is {public(uri)}, {told}")
    return absolute_uri(uri, state)


def absolute_uri(uri: str, state: Path) -> str:
    """MLflow knows what else an address may be (http, databases, databricks, file:, plug-ins); here are only paths."""
    path = uri.removeprefix("sqlite:///")
    if path != uri:
        return uri if path.startswith("/") else f"{sqlite_uri(state.parent)}/{path}"
    return uri if ":" in uri or uri.startswith(("databricks", "uc")) else str(state.parent / uri)


def split_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """An http address without `user:password@`, and the variables in which MLflow takes them instead."""
    if not uri.startswith(("http://", "https://")):
        return uri, {}
    parts = read_address(uri, "the tracking address")
    if not parts.user:
        return uri, {}
    return parts.without_user, {"MLFLOW_TRACKING_USERNAME": parts.user, "MLFLOW_TRACKING_PASSWORD": parts.password}


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock; it ends with the process, however that ends."""
    with open(path, "w") as handle:
        locks.take(handle, wait=True)
        try:
            yield
        finally:
            locks.let_go(handle)
