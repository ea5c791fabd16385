"""Where trials run. An executor takes jobs and gives outcomes back in any order; the engine does all the rest."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from winnow.trials.outcome import Evaluate, Job, Outcome, attempt

Ask = Callable[[int, int, list[float]], bool]  # (trial, step, objectives so far) -> end it?


class Executor(Protocol):
    """`workers` jobs may be submitted before `next` gives one back. `next` calls `ask` for what jobs report."""

    workers: int

    def submit(self, number: int, payload: dict[str, Any]) -> None: ...

    def next(self, ask: Ask, restarted: Callable[[int], None]) -> tuple[int, Outcome]:
        """The next trial to end. `restarted(number)` says that a lost trial begins again: forget its reports."""
        ...

    def close(self) -> None: ...


class Inline:
    """One trial after another in this process."""

    workers = 1

    def __init__(self, evaluate: Evaluate, device: str = "cpu"):
        self.evaluate, self.device = evaluate, device
        self._waiting: deque[tuple[int, dict[str, Any]]] = deque()

    def submit(self, number: int, payload: dict[str, Any]) -> None:
        self._waiting.append((number, payload))

    def next(self, ask: Ask, restarted: Callable[[int], None]) -> tuple[int, Outcome]:
        number, payload = self._waiting.popleft()
        job = Job.of(payload, self.device, lambda step, values: ask(number, step, values))
        return number, attempt(self.evaluate, job)

    def close(self) -> None:
        self._waiting.clear()


def side_by_side(runs: Executor, jobs: Iterable[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Each of `jobs`, whose numbers differ, with how it ended, in the order in which they end.

    As many as there are workers are taken from `jobs` beforehand, no more.
    """
    waiting, pending = iter(jobs), dict[int, Job]()

    def submit(count: int) -> None:
        for job in itertools.islice(waiting, count):
            pending[job.number] = job
            runs.submit(job.number, job.payload())

    submit(runs.workers)
    while pending:
        number, outcome = runs.next(lambda *report: False, lambda number: None)
        job = pending.pop(number)
        submit(1)
        yield job, outcome


def leases() -> list[str]:
    """The CUDA devices of this machine, as CUDA_VISIBLE_DEVICES names them; empty where there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]
