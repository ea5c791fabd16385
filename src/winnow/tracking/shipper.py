"""The process that moves events of stages to MLflow.

    python -m winnow.tracking.shipper serve STATE LOCK   started by `track` where none runs yet
    python -m winnow.tracking.shipper replay FOLDER      what did not get through, once the store is back

Importing MLflow takes seconds of processor time, so one shipper serves all stages of a pipeline: it ends by itself
half a minute after the last. It outlives a stage, and a stage that goes without an `end` event was killed: its run is
ended as KILLED. If the shipper is killed as well, the next one finds the folders of both and finishes them.
"""

import contextlib
import io
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from winnow.system.addresses import redact
from winnow.tracking import launch, store
from winnow.tracking.spool import Reader, shipped, state_of, write_json
from winnow.tracking.system import SystemMetrics

POLL = 0.1  # seconds between looks at the events
SLOWEST = 2.0  # seconds between shipments while a stage runs: often at first, then many events at once
LINGER = 30.0  # seconds without a stage before it ends; WINNOW_SHIPPER_LINGER says otherwise
PAUSE = 2.0  # seconds before what did not get through is tried again
TRIES = 3  # of one event before it is set aside, and of what was set aside once the stage has ended
ASIDE = 3  # events in a row that may be set aside: where more do not get through, the store is away
LAST_PATIENCE = 60.0  # seconds of trying after the stage has ended
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
    """One spool folder on its way: `advance` until `over`, then `complete` says whether all of it arrived.

    Where the run's server does not answer, the run goes to the local store, unless `local` is false or the server is
    required.
    """

    def __init__(self, folder: Path, local: bool = True):
        """BlockingIOError or FileNotFoundError where another process ships the folder or has removed it.

        The former also where a living stage has not said anything yet: it will.
        """
        self.reader, self.local = Reader(folder), local
        living = self.reader.stage_lives()  # asked before reading: it may begin in between
        self.start, self.progress = self.reader.start(), shipped(folder)
        if living and not self.start:
            self.reader.close()
            raise BlockingIOError(f"the stage of {folder} has not begun")
        self.progress.pop("gave_up", None)
        for event in self.progress.setdefault("pending", []):
            event.pop("tries", None)
        self.uri = store.absolute_uri(self.progress.get("uri") or self.start.get("uri", ""), state_of(folder))
        self.run: Any = None
        self.pulse: SystemMetrics | None = None
        self.tries, self.due, self.files_due, self.pause = 0, 0.0, 0.0, POLL
        self.ended_at: float | None = None  # when the stage was seen to have ended
        self.complete = self.progress.get("done", False)
        self.over = self.complete or not self.start  # a stage that was killed before it said anything
        self.foreign_code = False  # whether a module of the user's was imported here, which may change next time

    def advance(self) -> bool:
        """Send what is new, then one of the files; True where there is more to do at once.

        Never raises for a store that is away: the events stay and are sent again.
        """
        if self.over:
            return False
        living = self.reader.stage_lives()  # asked before reading, so that a last event is not missed
        events = self.reader.since(self.progress["offset"])
        if self.ended_at is None and (not living or any(event["kind"] == "end" for _, event in events)):
            self.ended_at = time.monotonic()
        if time.monotonic() >= self.due or (self.ended_at is not None and not self.tries):
            try:
                self._send(events, living)
                self.tries = 0
                self.due, self.pause = time.monotonic() + self.pause, min(2 * self.pause, SLOWEST)
            except Exception as error:  # whatever MLflow, SQLAlchemy or the network raise when the store is away
                self._missed(error)
        busy = False
        if self.run and not self.over and time.monotonic() >= self.files_due:
            busy = self._send_pending()
        if self.progress.get("ended") and not self.progress["pending"] and not self.over:
            self._conclude()
        return busy

    def _send(self, events: list[tuple[int, dict[str, Any]]], living: bool) -> None:
        if self.run is None and not self._open(living):
            return
        self.run.ship(events)
        ended = self.progress.get("ended") or self.progress.get("ending")
        if not living and not ended:
            killed = {"status": "KILLED", "time": self.reader.last_sign(), "error": "the process was killed"}
            self.run.accept({"kind": "end", **killed})
            self.run.save()
        elif self.pulse and living and not ended:
            with contextlib.suppress(Exception):  # a reading that is lost
                self.pulse.sample()

    def _send_pending(self) -> bool:
        """One of what waits: files, and what was set aside."""
        event = self.run.next_pending()
        if event is None:
            return False
        self.foreign_code |= event["kind"] == "model"
        try:
            self.run.accept(event)
        except Exception as error:
            event["tries"] = event.get("tries", 0) + 1
            self.files_due = time.monotonic() + (PAUSE if self.ended_at else PAUSE * 2 ** min(event["tries"], 4))
            self._note(error)
            if self._late() or (self.ended_at is not None and self.run.next_pending().get("tries", 0) >= TRIES):
                self._give_up(error)
            return False
        self.progress["pending"].remove(event)
        self.run.save()
        return True

    def _open(self, living: bool) -> bool:
        """Whether there is a run to write to; where its server is of no use, that of the local store."""
        from winnow.tracking import answers
        from winnow.tracking.to_mlflow import MlflowRun

        state = state_of(self.reader.folder)
        told, away = None, self.uri != store.local_uri(state)
        if away:
            told = answers.trouble(self.uri)  # a short question, where MLflow would wait for long
        try:
            if told:
                raise ConnectionError(told)
            self.run = MlflowRun(self.uri, self.reader.folder, self.start, self.progress)
        except Exception as error:
            if not away or not self.local or "run_id" in self.progress:
                raise
            told = told or answers.reason(error)
            if self.start["required"]:
                self.progress["refused"], self.over, self.complete = told, True, not living
                write_json(self.reader.folder / "shipped.json", self.progress)
                return False
            self._go_local(told, state)
            self.run = MlflowRun(self.uri, self.reader.folder, self.start, self.progress)
        if self.start["system_metrics"] and living:
            self.pulse = SystemMetrics(self.run)
        return True

    def _go_local(self, why: str, state: Path) -> None:
        told = f"the tracking server {self.start['uri']} cannot be used: {why}"
        self.uri = store.local_uri(state)
        self.progress["uri"] = store.portable_uri(self.uri, state)
        self.progress["problems"].append(redact(f"{told}; this run is in the local store {self.progress['uri']}"))
        self.start["tags"]["winnow.tracking_fallback"] = redact(told)

    def _conclude(self) -> None:
        if self.start["wandb"]:
            self._mirror()
            self.foreign_code = True
        if problems := self.progress["problems"]:  # the stage may have gone on before they were known
            with contextlib.suppress(Exception):
                self.run.tags({"values": {"winnow.tracking_problems": "\n".join(problems)}})
        self.progress["done"] = True
        self.run.save()
        self.over = self.complete = True

    def _mirror(self) -> None:
        from winnow.tracking.answers import one_line
        from winnow.tracking.to_wandb import mirror

        try:
            if told := mirror(self.reader, self.run.run_id, self.run.parent_id):
                self.run.problem(told)
        except Exception as error:  # a mirror that breaks must not take the original with it
            self._note(error)
            self.run.problem(f"wandb did not take the run: {type(error).__name__}: {one_line(error)}")

    def _note(self, error: Exception) -> None:
        print(redact("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)

    def _missed(self, error: Exception) -> None:
        """Try again after a pause; set aside what keeps failing, and give up on a store that takes nothing."""
        self._note(error)
        self.tries, self.due = self.tries + 1, time.monotonic() + PAUSE
        if self.tries < TRIES:
            return
        if self.run and self.run.aside < ASIDE and not self._away():
            self.run.set_aside()
            self.tries = TRIES - 1
        elif self.ended_at is not None:
            self._give_up(error)

    def _away(self) -> bool:
        """Whether the store answers nothing at all, so that nothing else would pass what does not get through."""
        from winnow.tracking.answers import trouble

        return trouble(self.uri) is not None

    def _late(self) -> bool:
        return self.ended_at is not None and time.monotonic() > self.ended_at + LAST_PATIENCE

    def _give_up(self, error: Exception) -> None:
        from winnow.tracking.answers import reason

        self.over = True
        told = f"{self.progress.get('uri', self.start['uri'])}: {reason(error)}"
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
        busy = False
        for folder, shipment in list(active.items()):
            busy |= shipment.advance()
            if shipment.over and shipment.leave():
                del active[folder]
                linger = 0.0 if shipment.foreign_code else linger
                if not shipment.complete:
                    given_up.add(folder)
        if active:
            last = time.monotonic()
        time.sleep(0.0 if busy else POLL)
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
    used = shipment.progress.get("uri") or start.get("uri")
    if used == store.portable_uri(uri, state_of(folder)):
        shipment.uri = uri  # with its password
    return shipment


def replay(folder: Path) -> int:
    """Ship one folder now; MLFLOW_TRACKING_URI may give an address with the password that the folder does not hold."""
    try:
        shipment = Shipment(folder, local=False)
    except BlockingIOError:
        print(f"{folder} is being shipped by another process", file=sys.stderr)
        return 2
    given = os.environ.get("MLFLOW_TRACKING_URI", "").strip()
    if given and shipment.start and store.portable_uri(given, state_of(folder)) == shipment.start["uri"]:
        shipment.uri = given
    while not shipment.over:
        time.sleep(0.0 if shipment.advance() or shipment.over else POLL)
    for problem in shipment.progress["problems"]:
        print(f"warning: {redact(problem)}", file=sys.stderr)
    if not shipment.complete:
        print(shipped(folder).get("gave_up"), file=sys.stderr)
        return 1
    print(f"run {shipment.progress.get('run_id')} is complete")
    shipment.leave()
    return 0


class _Redacted(io.TextIOBase):
    """A log that MLflow, SQLAlchemy and urllib3 write to as well."""

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> int:
        return int(self.stream.write(redact(text)))

    def flush(self) -> None:
        self.stream.flush()


def main(arguments: list[str]) -> int:
    os.environ |= ENVIRONMENT
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    sys.stderr = _Redacted(sys.stderr)
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
