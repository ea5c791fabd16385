"""MLflow's own page, on this machine only."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

from winnow.core.errors import Refused
from winnow.system.addresses import public
from winnow.tracking.store import choose_uri, local_uri, state_folder

PORT = 5000
HOST = "winnow.localhost"  # 127.0.0.1 to browsers; under that number MLflow opens a panel of its assistant
VIEW = "mlflow.sharedViewState.winnow"  # the tag of an experiment that holds the columns of its run table


def ui_command(root: Path, configured: str | None = None, port: int = PORT) -> list[str]:
    """The command that shows the runs of the project at 127.0.0.1; nothing is open to the network.

    `configured` is `tracking.uri`. Refused where there is no run yet, or where a server with its own page keeps them.
    """
    state = state_folder(root)
    if (uri := choose_uri(configured, state)).startswith("http"):
        raise Refused(f"runs are kept by a server already: open {public(uri)} in a browser")
    if uri == local_uri(state) and not (state / "mlflow.db").is_file():
        raise Refused("there are no runs to show yet: run `make repro` or one stage first")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    names = [f"{name}:{port}" for name in (HOST, "127.0.0.1", "localhost")]
    known = ["--allowed-hosts", ",".join(names), "--cors-allowed-origins", ",".join(f"http://{each}" for each in names)]
    return [*command, *known, "--artifacts-destination", str(state / "mlartifacts")]


def ui_environment(root: Path, configured: str | None = None) -> dict[str, str]:
    """The environment for that command: the store's address (arguments are seen by everybody on the machine), no
    telemetry, and none of the background jobs made for language models."""
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    address = {"MLFLOW_BACKEND_STORE_URI": choose_uri(configured, state_folder(root))}
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return {**kept, **quiet, **address}


def free(port: int) -> None:
    """Refused where 127.0.0.1 has not this port for us: MLflow says so late, among a hundred lines, with status 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: what was just closed is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            told = f"port {port} of 127.0.0.1 cannot be used ({error.strerror})"
            raise Refused(f"{told}: take another, as in `winnow ui --port {port % 60000 + 5001}`") from error


def serve(command: list[str], environment: dict[str, str]) -> int:
    """Run the server until it ends; what would end this process ends the server, with the processes it started."""
    server = subprocess.Popen(command, env=environment, start_new_session=True)
    asked: list[int] = []

    def end(number: int, _: object) -> None:
        how = signal.SIGKILL if asked else signal.SIGTERM  # a second time: at once
        asked.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, how)

    heard = [
        each for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN
    ]
    before = {each: signal.signal(each, end) for each in heard}
    try:
        status = server.wait()
        return 128 + asked[0] if asked else status
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        with contextlib.suppress(ProcessLookupError):  # what the server left behind
            os.killpg(server.pid, signal.SIGKILL)


def ui_url(root: Path, experiment: str = "winnow", port: int = PORT) -> str:
    """The page to open: the runs of `experiment`, as training rather than language models, with their main metrics."""
    store = f"{(state_folder(root) / 'mlflow.db').as_uri()}?mode=ro"  # to look must not create it
    address = f"http://{HOST}:{port}/#/experiments"
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
