"""Clients of federated training on the executors that trials have; what they bring back is the same to the bit.

An order and its answer are files in a folder that all workers see; the executor passes on their names alone.
"""

import contextlib
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.run.trials import executor, worker_params
from winnow.run.work import Work
from winnow.tracking import state_folder
from winnow.train.packing import from_bytes, to_bytes
from winnow.train.recipes import Recipe
from winnow.trials.executors import Executor, side_by_side
from winnow.trials.outcome import COMPLETE, Job

State = dict[str, Any]


@dataclass
class Pool:
    """Runs the orders of one training on `workers`; called as `train.federation.federate` calls its visits."""

    workers: Executor
    folder: Path
    arch: Architecture
    seed: int
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, orders: Sequence[State]) -> list[State]:
        numbers = list(itertools.islice(self._numbers, len(orders)))
        jobs = (self._job(number, order) for number, order in zip(numbers, orders, strict=True))
        found: dict[int, State] = {}
        for job, outcome in side_by_side(self.workers, jobs):
            number = job.number
            if outcome.state != COMPLETE:
                client = orders[numbers.index(number)]["client"]
                raise Refused(f"client {client} could not train: {outcome.error}")
            found[number] = from_bytes(self._answer(number).read_bytes())
            for path in (self._order(number), self._answer(number)):
                path.unlink()
        return [found[number] for number in numbers]

    def _job(self, number: int, order: State) -> Job:
        self._order(number).write_bytes(to_bytes(order))
        files = {"order": str(self._order(number)), "answer": str(self._answer(number))}
        return Job(number, self.seed, files, self.arch, {})

    def _order(self, number: int) -> Path:
        return self.folder / f"{number}.order"

    def _answer(self, number: int) -> Path:
        return self.folder / f"{number}.answer"


def visitor(local: Callable[[Job], Callable[[State], State]]) -> Callable[[Job], dict[str, float]]:
    """The other end: an evaluator of jobs as `Pool` makes them; `local(job)` is what does a client's work."""

    def visit(job: Job) -> dict[str, float]:
        order = from_bytes(Path(job.parameters["order"]).read_bytes())
        Path(job.parameters["answer"]).write_bytes(to_bytes(local(job)(order)))
        return {}

    return visit


@contextlib.contextmanager
def pool(work: Work, arch: Architecture, seed: int, recipe: Recipe) -> Iterator[Pool | None]:
    """As section trials says; None where that is in the stage itself, or nothing is federated."""
    federation = work.params.retrain.federation
    if federation is None or work.params.trials.executor == "inline":
        yield None
        return
    place = state_folder(work.folder) / "federation"
    place.mkdir(parents=True, exist_ok=True)
    settings = {
        "folder": str(work.folder.resolve()),
        "params": worker_params(work.params),
        "recipe": asdict(recipe),
    }
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(dir=place) as passing:
        workers = executor(work, "winnow.run.evaluators:client", settings)
        try:
            with contextlib.closing(workers):
                yield Pool(workers, Path(passing), arch, seed)
        finally:
            torch.set_num_threads(threads)
