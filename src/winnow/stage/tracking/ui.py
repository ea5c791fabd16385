"""MLflow's own page, on this machine only."""

import contextlib
import os
import sqlite3
import sys
from pathlib import Path

from winnow.core.errors import Refused
from winnow.stage.tracking.facts import redact
from winnow.stage.tracking.store import choose_uri, local_uri, state_folder

PORT = 5000
VIEW = "mlflow.sharedViewState.winnow"  # the tag of an experiment that holds the columns of its run table


def ui_command(root: Path, configured: str | None = None, port: int = PORT) -> list[str]:
    """The command that shows the runs of the project at 127.0.0.1; nothing is open to the network.

    `configured` is `tracking.uri`. Refused where there is no run yet, or where a server with its own page keeps them.
    """
    state = state_folder(root)
    uri = choose_uri(configured, state)
    if uri.startswith("http"):
        raise Refused(f"runs are kept by a server already: open {redact(uri)} in a browser")
    if uri == local_uri(state) and not (state / "mlflow.db").is_file():
        raise Refused("there are no runs to show yet: run `make repro` or one stage first")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return [*command, "--backend-store-uri", uri, "--artifacts-destination", str(state / "mlartifacts")]


def ui_environment() -> dict[str, str]:
    """The environment for that command: no telemetry, and none of the background jobs made for language models."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**os.environ, **quiet}


def ui_url(root: Path, experiment: str = "winnow", port: int = PORT) -> str:
    """The page to open: the runs of `experiment`, as training rather than language models, with their main metrics."""
    store = f"{(state_folder(root) / 'mlflow.db').as_uri()}?mode=ro"  # to look must not create it
    address = f"http://127.0.0.1:{port}/#/experiments"
    query = (
        "SELECT e.experiment_id, t.key FROM experiments e LEFT JOIN experiment_tags t "
        "ON t.experiment_id = e.experiment_id AND t.key = ? WHERE e.name = ?"
    )
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(store, uri=True)) as db,
    ):
        if found := db.execute(query, [VIEW, experiment]).fetchone():
            view = f"&viewStateShareKey={VIEW.rpartition('.')[2]}" if found[1] else ""
            return f"{address}/{found[0]}/runs?workflowType=machine_learning{view}"
    return f"{address}?workflowType=machine_learning"
