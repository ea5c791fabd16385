"""Whole stages by workers, `runtime.workers` at a time: retraining seeds, cells of studies, further searches.

What is done is data: jobs, which an evaluator in a worker does (`winnow.trials.worker`). Results lie in files, and are
the same whoever does a job, and whenever.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.config.reading import check_params
from winnow.core.errors import Refused
from winnow.run.trials import executor
from winnow.run.work import Work
from winnow.trials.executors import side_by_side
from winnow.trials.outcome import COMPLETE, Evaluate, Job

Do = Callable[[Params, Path, Job], None]


def seeded(what: str, seeds: Sequence[int]) -> list[Job]:
    """A job a seed, named for people."""
    return [Job(number, seed, {"name": f"{what} (seed {seed})"}, None, {}) for number, seed in enumerate(seeds)]


def done(work: Work, factory: str, jobs: Sequence[Job]) -> Iterator[Job]:
    """Each of `jobs` when it is done, `runtime.workers` at a time, by the worker of `in_worker` that `factory` names.

    The workers are as section trials says, with `runtime.threads` each. Refused where one cannot be done.
    """
    settings: dict[str, Any] = {"folder": str(work.folder.resolve()), "params": work.params.model_dump(mode="json")}
    settings["params"]["trials"]["storage"] = settings["params"]["trials"]["address"] = None
    with contextlib.closing(executor(work, factory, settings, work.params.runtime.workers)) as runs:
        for job, outcome in side_by_side(runs, jobs):
            if outcome.state != COMPLETE:
                raise Refused(f"{job.parameters['name']}: {outcome.error}; the same command goes on with what is left")
            yield job


def in_worker(do: Do, folder: str, params: dict[str, Any]) -> Evaluate:
    """An evaluator of jobs that `do` does. Refused where the worker does not see the folder of the project."""
    place = Path(folder)
    if not place.is_dir():
        raise Refused(f"no folder {folder} where this worker runs: machines that share work need it at the same path")
    checked = check_params(params)

    def evaluate(job: Job) -> dict[str, float]:
        do(checked, place, job)
        return {}

    return evaluate
