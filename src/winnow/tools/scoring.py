"""What scores of untrained networks are taken of, and who takes them: this process, or the executors that trials have.

A worker makes space and batch again by the same names and seeds, and begins only where they come out the same. Lists of
architectures and their rows pass through files in the folder of the scores, which all workers see.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.data.inputs.images import facts_of
from winnow.data.loaders import Batches, open_split
from winnow.data.storage import read_manifest
from winnow.proxies.common import Batch
from winnow.proxies.scorer import SIZES, scorer_of
from winnow.proxies.sweep import Score, Share, alone, fingerprint
from winnow.run.fingerprint import code_digest
from winnow.run.networks import usual
from winnow.run.outside import MODULE, Named, digest
from winnow.spaces import build
from winnow.system import heap, locks
from winnow.tasks import task_named
from winnow.tools.ranking import noise_batch, streams_of
from winnow.train.building import built
from winnow.train.seeds import generator
from winnow.trials.executors import Executor, side_by_side
from winnow.trials.outcome import COMPLETE, Evaluate, Job
from winnow.trials.processes import Processes

FACTORY = "winnow.tools.scoring:scorer"


@dataclass(frozen=True)
class Given:
    """Which space, at its default size; and which images: of the split `weights` in `data`, or noise of `shape`."""

    space: str
    data: str | None = None
    shape: tuple[int, ...] | None = None
    batch: int = 64
    seed: int = 0

    def rows(self) -> tuple[Batch, dict[str, Any] | None]:
        """A batch, and what builders are told of its data; noise without data. Refused where both are given."""
        if self.data is None:
            return noise_batch(self.batch, tuple(self.shape or (3, 32, 32)), self.seed), None
        if self.shape is not None:
            raise Refused(
                "--input-shape is that of noise: images of --data have their own, so leave one of the two out"
            )
        task = task_named(read_manifest(Path(self.data))["task"])
        split = open_split(Path(self.data), "weights", task, stage="search")
        batches = Batches(split, self.batch, generator=generator(self.seed, "score"))
        return next(iter(batches)), task.facts(split.facts)

    def made(self) -> tuple[Space, Batch]:
        """The space for these images; for noise, of as many classes as it has by itself."""
        batch, facts = self.rows()
        shape = tuple(batch[0].shape[1:])
        known = {**facts_of(shape), **usual(self.space)} if facts is None else facts
        return built(partial(build, self.space, {}, **known, final=True), shape, self.seed), batch

    def code(self) -> str:
        """The digest of a space that is not winnow's; empty for winnow's own."""
        return digest(Named("--space", MODULE, "space", self.space), Path()) if ":" in self.space else ""


def shared(
    given: Given,
    made: tuple[Space, Batch],
    names: Sequence[str],
    folder: Path,
    workers: int,
    executor: str,
    address: str | None = None,
) -> Share:
    """`sweep`'s `by`: `workers` processes of this machine, or of a Ray cluster; a process alone is this one.

    `made` is what `given.made()` gave here: workers that make another have other code or data.
    """
    if workers == 1 and executor == "processes":
        return alone

    def by(make: Callable[[], Score], lists: Sequence[Sequence[Architecture]]) -> Iterator[tuple[int, list[dict]]]:
        if not lists:
            return
        with _passing(folder) as place:
            told = {"given": asdict(given), "names": list(names), "place": str(place)}
            told["mark"] = _mark(given, names, *made)
            jobs = (_job(number, archs, place) for number, archs in enumerate(lists))
            with contextlib.closing(_executor(executor, told, min(workers, len(lists)), address)) as runs:
                for job, outcome in side_by_side(runs, jobs):
                    if outcome.state != COMPLETE:
                        raise Refused(f"networks could not be scored: {outcome.error}")
                    answer = Path(job.parameters["answer"])
                    yield job.number, json.loads(answer.read_text(encoding="utf-8"))
                    answer.unlink()

    return by


@contextlib.contextmanager
def _passing(folder: Path) -> Iterator[Path]:
    """A place for what workers answer, gone afterwards with what one that was killed left. Refused while in use."""
    place = folder.resolve() / ".passing"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("a+b") as lock:
        if not locks.take(lock):
            raise Refused(f"another process scores networks into {folder}: wait for its end, or name another --out")
        try:
            yield place
        finally:
            shutil.rmtree(place, ignore_errors=True)
            locks.let_go(lock)


def _executor(name: str, settings: dict[str, Any], workers: int, address: str | None) -> Executor:
    if name == "ray":
        from winnow.trials.ray_executor import Ray

        return Ray(FACTORY, settings, workers, {"cpu": 1}, address)
    return Processes(FACTORY, settings, workers, devices=())


def scorer(given: dict[str, Any], names: list[str], place: str, mark: str) -> Evaluate:
    """The other end of `shared`, in a worker. Refused where that has other code, data or weights, or another folder."""
    if not Path(place).is_dir():
        raise Refused(f"{place} is not there for a worker: all of them need this folder, at the same path")
    heap.keep()
    torch.set_num_threads(1)  # as in `sweep.one_thread`
    asked = Given(**given)
    space, batch = asked.made()
    if mark != _mark(asked, names, space, batch):
        raise Refused(
            "a worker has another winnow or torch, other code of the space, or other data: it scores otherwise"
        )
    score = scorer_of(space, [name for name in names if name not in SIZES], batch, streams_of(asked.seed))

    def evaluate(job: Job) -> dict[str, float]:
        rows = score([Architecture.from_json(text) for text in job.parameters["architectures"]])
        answer = Path(job.parameters["answer"])
        whole = answer.with_suffix(".writing")
        whole.write_text(json.dumps(rows), encoding="utf-8")
        os.replace(whole, answer)
        return {}

    return evaluate


def _job(number: int, archs: Sequence[Architecture], place: Path) -> Job:
    files = {"architectures": [arch.to_json() for arch in archs], "answer": str(place / f"{number}.json")}
    return Job(number, 0, files, None, {})


def _mark(given: Given, names: Sequence[str], space: Space, batch: Batch) -> str:
    """Everything that a score hangs on but the architecture, as this process has it."""
    code = code_digest() + given.code()
    return fingerprint(space, (), names, batch, streams_of(given.seed), 0, code)
