"""The process that moves events of stages to MLflow.

    python -m winnow.stage.tracking.shipper serve STATE LOCK   started by `track` where none runs yet
    python -m winnow.stage.tracking.shipper replay FOLDER      what did not get through, once the store is back

Importing MLflow takes seconds of processor time, so one shipper serves all stages of a pipeline: it ends by itself
half a minute after the last. It outlives a stage, and a stage that goes without an `end` event was killed: its run is
ended as KILLED. If the shipper is killed as well, the next one finds the folders of both and finishes them.
"""

import contextlib
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from winnow.stage.tracking import launch, store
from winnow.stage.tracking.facts import redact
from winnow.stage.tracking.spool import Reader, shipped, state_of, write_json
from winnow.stage.tracking.system import SystemMetrics

POLL = 0.1  # seconds between looks at the events
LINGER = 30.0  # seconds without a stage before it ends; WINNOW_SHIPPER_LINGER says otherwise
PAUSE = 2.0  # seconds before a store that did not answer is tried again
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


class Shipment:
    """One spool folder on its way: `advance` until `over`, then `complete` says whether all of it arrived."""

    def __init__(self, folder: Path):
        """BlockingIOError or FileNotFoundError where another process ships the folder or has removed it."""
        self.reader = Reader(folder)
        self.start, self.progress = self.reader.start(), shipped(folder)
        self.uri = store.absolute_uri(self.start["uri"], state_of(folder)) if self.start else ""
        self.run: Any = None
        self.pulse: SystemMetrics | None = None
        self.tries, self.due = 0, 0.0
        self.complete = self.progress.get("done", False)
        self.over = self.complete or not self.start  # a stage that was killed before it said anything
        self.foreign_code = False  # whether a module of the user's was imported here, which may change next time

    def advance(self) -> None:
        """Send what is new. Never raises for a store that is away: the events stay and are sent again."""
        if self.over or time.monotonic() < self.due:
            return
        living = self.reader.stage_lives()  # asked before reading, so that a last event is not missed
        events = self.reader.since(self.progress["offset"])
        try:
            ended = self._send(events, living)
        except Exception as error:  # whatever MLflow, SQLAlchemy or the network raise when the store is away
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            self._try_again(error, not living or any(event["kind"] == "end" for _, event in events))
            return
        self.tries = 0
        if ended or not living:
            self.over = self.complete = True
            self.foreign_code |= self.start["wandb"] or any(event["kind"] == "model" for _, event in events)

    def _send(self, events: list[tuple[int, dict[str, Any]]], living: bool) -> bool:
        if self.run is None:
            self._open(living)
        ended = self.run.ship(events)
        if self.pulse and living and not ended:
            self.pulse.sample()
        if ended or not living:
            if not ended:
                self.run.end({"status": "KILLED", "time": self.reader.last_sign(), "error": "the process was killed"})
            if self.start["wandb"]:
                self._mirror()
            self.progress["done"] = True
            self.run.save()
        return ended

    def _open(self, living: bool) -> None:
        from winnow.stage.tracking.to_mlflow import MlflowRun

        if trouble := store.trouble(self.uri):  # a short question, where MLflow would wait for long
            raise ConnectionError(f"{redact(self.uri)}: {trouble}")
        self.run = MlflowRun(self.uri, self.reader.folder, self.start, self.progress)
        if self.start["system_metrics"] and living:
            self.pulse = SystemMetrics(self.run)

    def _mirror(self) -> None:
        from winnow.stage.tracking.to_wandb import mirror

        try:
            mirror(self.reader, self.run.run_id, self.run.parent_id)
        except Exception as error:  # a mirror that breaks must not take the original with it
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            self.run.problem(f"wandb did not take the run: {type(error).__name__}: {error}"[:300])

    def _try_again(self, error: Exception, last: bool) -> None:
        self.due = time.monotonic() + PAUSE
        self.tries = self.tries + 1 if last else 0
        if self.tries >= LAST_TRIES:
            self.over = True
            told = f"{self.start['uri']}: {(redact(str(error)).splitlines() or [''])[0][:300]}"
            write_json(self.reader.folder / "shipped.json", {**self.progress, "gave_up": told})

    def leave(self) -> bool:
        """Forget a shipment that is over; its folder goes once the stage has read the ids and is done with it."""
        if self.complete and self.reader.stage_lives() and self.reader.folder.exists():
            return False
        if self.complete or not self.start:
            shutil.rmtree(self.reader.folder, ignore_errors=True)
        self.reader.close()
        return True


def serve(state: Path, lock: Path) -> int:
    """Ship every folder of this store that appears, and what dead stages left, until none has come for a while."""
    os.nice(10)
    os.chdir(state)
    handle = _hold(lock)
    if handle is None:
        return 0
    uri, linger = os.environ["MLFLOW_TRACKING_URI"], float(os.environ.get("WINNOW_SHIPPER_LINGER", LINGER))
    runs, last = state / "runs", time.monotonic()
    home = runs.stat().st_ino
    active: dict[Path, Shipment] = {}
    given_up: set[Path] = set()
    seen: set[Path] = set()
    while active or time.monotonic() < last + linger:
        if not runs.exists() or runs.stat().st_ino != home:  # the state was deleted, and perhaps made anew
            break
        for folder in sorted(set(runs.glob("[!.]*")) - active.keys() - given_up):
            if shipment := _take(folder, uri, lock):
                active[folder] = shipment
                if folder not in seen:  # a new stage: another try for what was given up
                    given_up.clear()
                    seen.add(folder)
        for folder, shipment in list(active.items()):
            shipment.advance()
            if shipment.over and shipment.leave():
                del active[folder]
                linger = 0.0 if shipment.foreign_code else linger
                if not shipment.complete:
                    given_up.add(folder)
        if active:
            last = time.monotonic()
        time.sleep(POLL)
    return 0


def _hold(lock: Path) -> Any:
    """A stage that asks whether anybody holds the lock holds it itself for an instant: so not at the first attempt."""
    for _ in range(10):
        if handle := launch.hold(lock):
            return handle
        time.sleep(0.05)
    return None


def _take(folder: Path, uri: str, lock: Path) -> Shipment | None:
    """Its shipment where the stage counts on the shipper of `lock`, or is dead."""
    try:
        shipment = Shipment(folder)
    except (BlockingIOError, FileNotFoundError):
        return None
    start = shipment.start
    if start and start["shipper"] != lock.name and shipment.reader.stage_lives():
        shipment.reader.close()
        return None
    if start and start["uri"] == store.portable_uri(uri, state_of(folder)):
        shipment.uri = uri  # with its password
    return shipment


def replay(folder: Path) -> int:
    """Ship one folder now; MLFLOW_TRACKING_URI may give an address with the password that the folder does not hold."""
    try:
        shipment = Shipment(folder)
    except BlockingIOError:
        print(f"{folder} is being shipped by another process", file=sys.stderr)
        return 2
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given and shipment.start and store.portable_uri(given, state_of(folder)) == shipment.start["uri"]:
        shipment.uri = given
    while not shipment.over:
        shipment.advance()
        time.sleep(0.0 if shipment.over else POLL)
    for problem in shipment.progress["problems"]:
        print(f"warning: {problem}", file=sys.stderr)
    if not shipment.complete:
        print(shipped(folder).get("gave_up"), file=sys.stderr)
        return 1
    print(f"run {shipment.progress.get('run_id')} is complete")
    shipment.leave()
    return 0


def main(arguments: list[str]) -> int:
    os.environ |= ENVIRONMENT
    with contextlib.suppress(KeyboardInterrupt):
        if arguments[:1] == ["serve"]:
            os.closerange(3, 256)  # nothing of the stage's that somebody might wait for
            return serve(Path(arguments[1]), Path(arguments[2]))
        if arguments[:1] == ["replay"] and len(arguments) == 2:
            return replay(Path(arguments[1]))
        print(__doc__, file=sys.stderr)
        return 2
    return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
