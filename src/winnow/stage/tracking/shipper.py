"""The process beside a stage that moves its events to MLflow.

    python -m winnow.stage.tracking.shipper ship FOLDER PID    started by `track`; PID is the stage
    python -m winnow.stage.tracking.shipper replay FOLDER      what did not get through, once the store is back

It outlives the stage: a stage that goes without an `end` event was killed, and its run is ended as KILLED. Runs whose
stage *and* shipper were killed are found by their unlocked spool folders and finished by the next shipper.
"""

import fcntl
import functools
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from winnow.stage.tracking import store
from winnow.stage.tracking.facts import redact
from winnow.stage.tracking.spool import Reader, shipped, write_json

POLL = 0.2  # seconds between looks at the events
SLOWEST_PULSE = 10.0  # seconds between readings of the machine
PAUSE = 2.0  # seconds before the store is tried again
LAST_TRIES = 3  # after the stage has ended
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # retrying is done here, where the events are safe
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "OMP_NUM_THREADS": "1",  # the stage needs the cores
    "CUDA_VISIBLE_DEVICES": "",  # and the GPU
}


def main(arguments: list[str]) -> int:
    os.environ |= ENVIRONMENT
    command, folder = arguments[0], Path(arguments[1])
    if command == "replay":
        return replay(folder)
    os.nice(10)
    stage = int(arguments[2])
    reader = Reader(folder)
    uri = os.environ["MLFLOW_TRACKING_URI"]
    whole = ship(reader, uri, alive=lambda: os.getppid() == stage, meanwhile=lambda: finish_orphans(folder.parent, uri))
    if os.getppid() != stage and whole:
        shutil.rmtree(folder, ignore_errors=True)  # nobody waits for the answer
    return 0 if whole else 1


def replay(folder: Path) -> int:
    try:
        reader = Reader(folder, fcntl.LOCK_EX)
    except BlockingIOError:
        print(f"{folder} is being shipped by another process", file=sys.stderr)
        return 2
    uri = _uri_of(reader, os.environ.get("MLFLOW_TRACKING_URI"))
    if uri is None:
        print(f"set MLFLOW_TRACKING_URI to the address of {reader.start()['uri']} with its password", file=sys.stderr)
        return 2
    os.environ["MLFLOW_TRACKING_URI"] = uri
    whole = ship(reader, uri, alive=lambda: False)
    progress = shipped(folder)
    for problem in progress["problems"]:
        print(f"warning: {problem}", file=sys.stderr)
    if whole:
        print(f"run {progress.get('run_id')} is complete")
        shutil.rmtree(folder)
    return 0 if whole else 1


def finish_orphans(runs: Path, uri: str) -> None:
    """Ship what stages left that were killed together with their shippers, or whose store was away."""
    trouble = functools.cache(store.trouble)
    for folder in sorted(runs.glob("[!.]*")):
        try:
            reader = Reader(folder, fcntl.LOCK_EX)
        except (BlockingIOError, FileNotFoundError):  # somebody is at work there, or has just finished
            continue
        try:
            target = _uri_of(reader, uri)
            whole = shipped(folder).get("done") or (
                target and trouble(target) is None and ship(reader, target, alive=lambda: False)
            )
            if whole:
                shutil.rmtree(folder, ignore_errors=True)
        except Exception:  # what another run left behind must not stop this one
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
        reader.close()


def _uri_of(reader: Reader, current: str | None) -> str | None:
    """The address a spool was meant for; it holds no password, so it may have to be the current one."""
    start = reader.start()
    if not start:
        return current
    state = Path(start["state"])
    if current and store.portable_uri(current, state) == start["uri"]:
        return current
    return store.choose_uri(start["uri"], state) if "MLFLOW_TRACKING_URI" not in os.environ else None


def ship(reader: Reader, uri: str, alive: Callable[[], bool], meanwhile: Callable[[], None] | None = None) -> bool:
    """Send events until the run ends or its stage is no longer `alive`; True when everything is in the store."""
    folder, start, progress = reader.folder, reader.start(), shipped(reader.folder)
    if not start:  # killed before it said anything
        return True
    run, pulse, tries = None, None, 0
    while True:
        living = alive()  # asked before reading, so that a last event is not missed
        events = reader.since(progress["offset"])
        try:
            if run is None:
                run = _open(uri, folder, start, progress)
                pulse = SystemMetrics(run) if start["system_metrics"] and living else None
            ended = run.ship(events)
            if pulse and not ended:
                pulse.sample()
        except Exception as error:  # whatever the store raises when away; the events stay and are sent again
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            over = not living or any(event["kind"] == "end" for _, event in events)
            tries = tries + 1 if over else 0
            if tries >= LAST_TRIES:
                progress["problems"].append(f"{start['uri']}: {redact(str(error)).splitlines()[0][:300]}")
                write_json(folder / "shipped.json", progress)
                return False
            time.sleep(PAUSE)
            continue
        if meanwhile:
            meanwhile()
            meanwhile = None
        if ended or not living:
            break
        time.sleep(POLL)
    if not ended:
        run.end({"status": "KILLED", "time": reader.last_sign(), "error": "the process was killed"})
    if start["wandb"]:
        _mirror(reader, run)
    progress["done"] = True
    run.save()
    return True


def _open(uri: str, folder: Path, start: dict[str, Any], progress: dict[str, Any]) -> Any:
    import mlflow

    from winnow.stage.tracking.to_mlflow import MlflowRun

    mlflow.set_tracking_uri(uri)
    return MlflowRun(uri, folder, start, progress)


class SystemMetrics:
    """CPU, memory, disk, network and GPU of the machine, often at first, so that short stages have them too."""

    def __init__(self, run: Any):
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self.run, self.monitors, self.step, self.pause = run, SystemMetricsMonitor(run.run_id).monitors, 0, 1.0
        self._read()  # rates are since the reading before
        self.due = time.monotonic() + self.pause

    def sample(self) -> None:
        if time.monotonic() < self.due:
            return
        self.pause = min(2 * self.pause, SLOWEST_PULSE)
        self.due = time.monotonic() + self.pause
        self.run.system_metrics(self._read(), self.step)
        self.step += 1

    def _read(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for monitor in self.monitors:
            monitor.collect_metrics()
            values |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return values


def _mirror(reader: Reader, run: Any) -> None:
    from winnow.stage.tracking.to_wandb import mirror

    try:
        mirror(reader, run.run_id, run.parent_id)
    except Exception as error:  # a mirror that breaks must not take the original with it
        print(traceback.format_exc(), file=sys.stderr, flush=True)
        run.problem(f"wandb did not take the run: {type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
