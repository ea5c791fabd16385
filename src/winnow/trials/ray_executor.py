"""Trials on the machines of a Ray cluster, or on a Ray of this machine alone. Needs the extra winnow[ray]."""

import json
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from winnow.core.errors import Refused
from winnow.trials.executors import Ask
from winnow.trials.outcome import FAILED, Outcome
from winnow.trials.processes import FROM_OUTSIDE, LIVES, Worker, how_it_ended

PATIENCE = 5.0  # seconds without news after which the cluster is asked whether it still has room for a trial
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a trial without a GPU sees the variables that its node has
}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # Ray's switch for 127.0.0.1 instead of the machine's address


class Ray:
    """As `processes.Processes`, but `workers` actors of Ray, each holding `resources`: {"cpu": 1, "gpu": 1}.

    `address` is a cluster's "host:port", or "auto" for the one that runs here; None starts Ray on this machine, on
    127.0.0.1 without a dashboard, or takes the one that this process has. Every node has winnow and the evaluator's
    module installed. Each actor keeps the evaluator in a process of its own: what the evaluator does to that process
    is told from the loss of a node, after which trials run again elsewhere, `LIVES` times at most.
    Refused where Ray is not installed, the cluster is not there, or no node has what a trial asks for.
    """

    def __init__(
        self,
        factory: str,
        settings: Mapping[str, Any],
        workers: int,
        resources: Mapping[str, float] | None = None,
        address: str | None = None,
    ):
        if workers < 1:
            raise Refused(f"trials.workers takes a whole number of 1 or more, not {workers}")
        self.described, self.workers = (factory, dict(settings)), workers
        self.resources = _checked({"cpu": 1} | dict(resources or {}))
        self.ray = _imported(local=address is None)
        self._ours = _join(self.ray, address)
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self._calls: dict[Any, _Slot] = {}  # what is awaited -> the slot that it comes from
        self._idle: list[_Slot] = []
        self._killed: dict[int, int] = {}
        self._stillborn = 0  # actors lost in a row before they said that they are there
        try:
            self._check_room()
            for _ in range(workers):
                self._open()
        except BaseException:
            self.close()
            raise

    def submit(self, number: int, payload: dict[str, Any]) -> None:
        self._waiting.append((number, payload))
        self._hand_out()

    def next(self, ask: Ask, restarted: Callable[[int], None]) -> tuple[int, Outcome]:
        while True:
            ready, _ = self.ray.wait(list(self._calls), num_returns=1, timeout=PATIENCE)
            if not ready:
                self._check_room()
            for call in ready:
                slot = self._calls.pop(call)
                try:
                    message = json.loads(self.ray.get(call))
                except self.ray.exceptions.RayActorError as error:  # its node or its worker is gone
                    message = self._replace(slot, error)
                ended = self._hear(slot, message, ask, restarted)
                self._hand_out()
                if ended is not None:
                    return ended

    def close(self) -> None:
        for slot in (*self._calls.values(), *self._idle):
            self.ray.kill(slot.actor)
        self._calls, self._idle = {}, []
        self._waiting.clear()
        if self._ours:
            self.ray.shutdown()
            self._ours = False

    def _open(self) -> None:
        """Ask for one more actor; jobs go to those alone that say they are there, as others may never be."""
        own = {name: amount for name, amount in self.resources.items() if name not in ("cpu", "gpu")}
        cpu, gpu = self.resources["cpu"], self.resources.get("gpu", 0)
        actor_class = self.ray.remote(num_cpus=cpu, num_gpus=gpu, resources=own)(_Actor)
        slot = _Slot(actor_class.remote(*self.described, gpu > 0, self.workers))
        self._calls[slot.actor.ready.remote()] = slot

    def _replace(self, slot: "_Slot", error: Exception) -> dict[str, Any]:
        self._stillborn += slot.job is None
        if self._stillborn >= LIVES * self.workers:
            last = str(error).strip().splitlines()[-1]
            raise Refused(f"nodes of the Ray cluster do not get as far as a trial; is winnow installed there? {last}")
        self.ray.kill(slot.actor)
        self._open()
        return {"lost": True}

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            slot = self._idle.pop()
            slot.job = self._waiting.popleft()
            self._calls[slot.actor.begin.remote(json.dumps(slot.job))] = slot

    def _hear(
        self, slot: "_Slot", message: dict[str, Any], ask: Ask, restarted: Callable[[int], None]
    ) -> tuple[int, Outcome] | None:
        if "refused" in message:
            raise Refused(message["refused"])
        if "report" in message:
            assert slot.job is not None
            stop = ask(slot.job[0], *message["report"])
            self._calls[slot.actor.answer.remote(stop)] = slot
            return None
        job, slot.job = slot.job, None
        if "lost" not in message:
            self._idle.append(slot)
            self._stillborn = 0
        if job is None:
            return None
        if "outcome" in message:
            return job[0], Outcome.of(message["outcome"])
        return self._mourn(job, message, restarted)

    def _mourn(
        self, job: tuple[int, dict[str, Any]], message: dict[str, Any], restarted: Callable[[int], None]
    ) -> tuple[int, Outcome] | None:
        """A trial whose process or node is gone begins again, unless that was its own doing, or is so every time."""
        number, _ = job
        error = message.get("error", "")
        if not error:
            self._killed[number] = self._killed.get(number, 0) + 1
            if self._killed[number] < LIVES:
                restarted(number)
                self._waiting.appendleft(job)
                return None
            error = f"its process or node was lost {LIVES} times; the machines may lack memory"
        return number, Outcome(FAILED, error=error, device=message.get("device", ""))

    def _check_room(self) -> None:
        """Refused where no living node has, busy or not, what a trial asks for."""
        asked = {_rays(name): amount for name, amount in self.resources.items()}
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes):
            return
        has = "; ".join(", ".join(f"{_ours(n)} {node.get(n, 0):g}" for n in asked) for node in nodes)
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in self.resources.items())
        raise Refused(
            f"a trial asks for {wanted}, which no node of the Ray cluster has (they have {has or 'gone'}): "
            "ask for less in trials.resources, or add such a node; the same command goes on"
        )


@dataclass
class _Slot:
    actor: Any
    job: tuple[int, dict[str, Any]] | None = None


class _Actor:
    """On a node: hands what comes to a process with the evaluator, and what that says back, one message a call."""

    def __init__(self, factory: str, settings: dict[str, Any], gpu: bool, workers: int):
        self.described, self.workers = (factory, settings), workers
        self.device = os.environ.get("CUDA_VISIBLE_DEVICES") if gpu else None
        self.worker: Worker | None = None

    def ready(self) -> str:
        return "{}"

    def begin(self, job: str) -> str:
        if self.worker is None:
            self.worker = Worker(*self.described, 0, self.device, self.workers)
        self.worker.begin(*json.loads(job))
        return self._message()

    def answer(self, stop: bool) -> str:
        assert self.worker is not None
        self.worker.tell({"stop": stop})
        return self._message()

    def _message(self) -> str:
        worker = self.worker
        assert worker is not None
        messages: list[dict[str, Any]] = []
        while not messages and not worker.gone:
            messages = worker.read()
        device = f"{worker.device}@{socket.gethostname()}"
        if not messages:
            status, self.worker = worker.end(), None
            error = "" if status in FROM_OUTSIDE else f"its process {how_it_ended(status)}"
            return json.dumps({"error": error, "device": device})
        (message,) = messages  # the worker waits after each
        if "outcome" in message:
            message["outcome"]["device"] = device
            if message["outcome"]["state"] == FAILED:  # device memory of a failed trial is gone for certain
                worker.end()
                self.worker = None
        return json.dumps(message)


def _checked(resources: dict[str, Any]) -> dict[str, float]:
    for name, amount in resources.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < math.inf:
            raise Refused(f"trials.resources: {name} takes a number of 0 or more, not {amount!r}")
    return resources


def _imported(local: bool) -> Any:
    os.environ.update(QUIET | (LOOPBACK if local else {}))  # Ray reads them when it is imported
    try:
        import ray
        import ray.exceptions
    except ModuleNotFoundError as error:
        raise Refused("trials.executor ray needs Ray, which is not here: pip install 'winnow[ray]'") from error
    return ray


def _join(ray: Any, address: str | None) -> bool:
    """Connect to the cluster; whether the connection is ours to end."""
    if ray.is_initialized():
        return False
    if address is not None and address != "auto":
        _reach(address)
    more = {"include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", logging_level="ERROR", **more)
    except (ConnectionError, RuntimeError, ValueError) as error:
        token = "" if address is None else "; one that asks for a token takes RAY_AUTH_MODE=token here, too"
        raise Refused(
            f"Ray at {address or 'this machine'} cannot be used: {str(error).splitlines()[0]}{token}"
        ) from error
    return True


def _reach(address: str) -> None:
    """Ray itself tries for minutes, and then ends the process."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise Refused(f"the address of a Ray cluster is auto or like 10.0.0.1:6379, not {address!r}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise Refused(
            f"no Ray cluster at {address} ({error.strerror or error}): ray start --head begins one"
        ) from error


def _rays(name: str) -> str:
    return name.upper() if name in ("cpu", "gpu") else name


def _ours(name: str) -> str:
    return name.lower() if name in ("CPU", "GPU") else name
