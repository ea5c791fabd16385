"""Where runs are kept: the state folder, the tracking address, and whether anything answers there."""

import contextlib
import json
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from winnow.core import locks
from winnow.stage.tracking.facts import redact

DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
PATIENCE = 3.0  # seconds a tracking server may take to answer before work starts


def state_folder(root: Path) -> Path:
    """`.winnow` of the project. Under DVC the project is DVC_ROOT, since an experiment may run in a passing copy."""
    return Path(os.environ.get("DVC_ROOT") or root).resolve() / ".winnow"


def local_uri(state: Path) -> str:
    return f"sqlite:///{state / 'mlflow.db'}"


def portable_uri(uri: str, state: Path) -> str:
    """The address as files may carry it: without a password, and the local store relative to the project."""
    return redact(uri).replace(f"sqlite:///{state.parent}/", "sqlite:///")


def choose_uri(configured: str | None, state: Path) -> str:
    """MLFLOW_TRACKING_URI, `tracking.uri`, or SQLite in the state folder; relative SQLite paths start at `root`."""
    return absolute_uri(os.environ.get("MLFLOW_TRACKING_URI") or configured or local_uri(state), state)


def absolute_uri(uri: str, state: Path) -> str:
    path = uri.removeprefix("sqlite:///")
    if uri.startswith("sqlite:///") and not Path(path).is_absolute():
        return f"sqlite:///{state.parent / path}"
    return uri


def trouble(uri: str) -> str | None:
    """Why this address cannot be used, in a few words; None where something answers. Takes at most a few seconds."""
    parts = urllib.parse.urlsplit(uri)
    dialect = parts.scheme.split("+")[0]
    if dialect in ("http", "https"):
        return _server_trouble(uri)
    if dialect == "sqlite":
        folder = Path(uri.removeprefix("sqlite:///")).parent
        return None if folder.is_dir() and os.access(folder, os.W_OK) else f"the folder {folder} is not writable"
    if dialect in DATABASE_PORTS:
        try:
            address = (parts.hostname or "localhost", parts.port or DATABASE_PORTS[dialect])
            socket.create_connection(address, PATIENCE).close()
        except OSError as error:
            return _reason(error)
        return None
    if dialect.startswith("databricks"):
        return None
    return "MLflow takes sqlite:///, postgresql://, mysql://, mssql://, http(s):// or databricks, and no plain folders"


def split_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """An http address without `user:password@`, and the variables in which MLflow takes them instead."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme not in ("http", "https") or not parts.username:
        return uri, {}
    clean = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    names = {"MLFLOW_TRACKING_USERNAME": parts.username, "MLFLOW_TRACKING_PASSWORD": parts.password or ""}
    return clean, {name: urllib.parse.unquote(value) for name, value in names.items()}


def _server_trouble(uri: str) -> str | None:
    clean, names = split_credentials(uri)
    names = {**os.environ, **names}
    # One search for one experiment tells more than /health: that it is MLflow, and that it lets us in.
    url = f"{clean.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1"
    request = urllib.request.Request(url)
    if token := names.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    elif user := names.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{names.get('MLFLOW_TRACKING_PASSWORD', '')}"
        request.add_header("Authorization", f"Basic {b64encode(pair.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        return "it does not accept our credentials" if error.code in (401, 403) else f"it answers HTTP {error.code}"
    except (OSError, urllib.error.URLError) as error:
        return _reason(getattr(error, "reason", error))
    except ValueError:
        return "something answers there, but it is not MLflow"
    return None


def _reason(error: object) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {PATIENCE:g} seconds"
    return (getattr(error, "strerror", None) or str(error)).lower()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock; it ends with the process, however that ends."""
    with open(path, "w") as handle:
        locks.take(handle, wait=True)
        try:
            yield
        finally:
            locks.let_go(handle)
