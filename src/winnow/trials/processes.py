"""Trials in processes of their own: one device lease each, and what kills one kills no other."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from winnow.core.errors import Refused
from winnow.system.machine import usable_cores
from winnow.system.stop import how_it_ended
from winnow.trials.executors import Ask, leases
from winnow.trials.outcome import FAILED, Outcome

LIVES = 5  # a trial whose process is killed from outside is begun again, this often in all
FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)


class Processes:
    """`workers` Python processes that make their evaluator once: `factory(**settings)`, "package.module:function".

    `devices` are the CUDA devices to share out, as `leases` names them: all of them unless given, none where empty.
    Evaluators print where the driver prints its errors. A process that raised ends with its trial: device memory of
    a failed trial is gone for certain.
    """

    def __init__(self, factory: str, settings: Mapping[str, Any], workers: int, devices: Sequence[str] | None = None):
        if workers < 1:
            raise Refused(f"trials.workers takes a whole number of 1 or more, not {workers}")
        self.factory, self.settings, self.workers = factory, dict(settings), workers
        self._devices = leases() if devices is None else list(devices)
        self._slots: list[Worker | None] = [None] * workers
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._killed: dict[int, int] = {}
        self._selector = selectors.DefaultSelector()

    def submit(self, number: int, payload: dict[str, Any]) -> None:
        self._waiting.append((number, payload))
        self._hand_out()

    def next(self, ask: Ask, restarted: Callable[[int], None]) -> tuple[int, Outcome]:
        while True:
            for key, _ in self._selector.select():
                worker: Worker = key.data
                for message in worker.read():
                    ended = self._hear(worker, message, ask)
                    if ended is not None:
                        self._hand_out()
                        return ended
                if worker.gone:
                    ended = self._bury(worker, restarted)
                    self._hand_out()
                    if ended is not None:
                        return ended

    def close(self) -> None:
        for worker in self._slots:
            if worker is not None:
                worker.end()
        self._slots = [None] * self.workers
        self._waiting.clear()
        self._selector.close()

    def _hand_out(self) -> None:
        for slot in range(self.workers):
            worker = self._slots[slot]
            if self._waiting and (worker is None or worker.job is None):
                worker = worker or self._spawn(slot)
                worker.begin(*self._waiting.popleft())

    def _spawn(self, slot: int) -> "Worker":
        device = self._devices[slot % len(self._devices)] if self._devices else None
        worker = Worker(self.factory, self.settings, slot, device, self.workers)
        self._slots[slot] = worker
        self._selector.register(worker.answers, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: "Worker", message: dict[str, Any], ask: Ask) -> tuple[int, Outcome] | None:
        assert worker.job is not None
        number, _ = worker.job
        if "refused" in message:
            raise Refused(message["refused"])
        if "report" in message:
            step, values = message["report"]
            worker.tell({"stop": ask(number, step, values)})
            return None
        worker.job, outcome = None, Outcome.of(message["outcome"])
        if outcome.state == FAILED:
            self._dismiss(worker)
        return number, outcome

    def _bury(self, worker: "Worker", restarted: Callable[[int], None]) -> tuple[int, Outcome] | None:
        status = self._dismiss(worker)
        if worker.job is None:
            return None
        number, payload = worker.job
        error = f"its process {how_it_ended(status)}"
        if status in FROM_OUTSIDE:
            self._killed[number] = self._killed.get(number, 0) + 1
            if self._killed[number] < LIVES:
                restarted(number)
                self._waiting.appendleft((number, payload))
                return None
            error = f"its process was killed {LIVES} times; the machine may lack memory"
        return number, Outcome(FAILED, error=error, device=worker.device)

    def _dismiss(self, worker: "Worker") -> int:
        self._selector.unregister(worker.answers)
        self._slots[worker.slot] = None
        return worker.end()


class Worker:
    """One process: JSON lines down its standard input, JSON lines up a pipe of its own."""

    def __init__(self, factory: str, settings: dict[str, Any], slot: int, device: str | None, workers: int):
        self.slot, self.device = slot, "cpu" if device is None else f"cuda:{device}"
        self.job: tuple[int, dict[str, Any]] | None = None
        self.gone = False
        self._rest = b""
        self.answers, theirs = os.pipe()
        environment = dict(os.environ)
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // workers)))
        if device is not None:
            environment["CUDA_VISIBLE_DEVICES"] = device
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "winnow.trials.worker", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
            pass_fds=(theirs,),
            env=environment,
        )
        os.close(theirs)
        # Down the pipe, since everybody on the machine can read arguments, and parameters may hold a password.
        self.tell({"factory": factory, "settings": settings, "device": self.device, "path": sys.path})

    def begin(self, number: int, payload: dict[str, Any]) -> None:
        self.job = number, payload
        self.tell({"job": payload})

    def tell(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died; the end of its answers says so
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()

    def read(self) -> list[dict[str, Any]]:
        """Whole messages that have come; sets `gone` at the end of the pipe."""
        chunk = os.read(self.answers, 1 << 16)
        self.gone = not chunk
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [json.loads(line) for line in lines]

    def end(self) -> int:
        """Wait for the process to end, or make it; its exit status, negative for a signal."""
        if not self.gone:
            self.process.kill()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.wait()
        os.close(self.answers)
        return status


def _has_file(stream: Any) -> bool:
    try:
        return stream.fileno() >= 0
    except (AttributeError, OSError, ValueError):
        return False
