"""Networks trained to be compared: found ones, random ones and rivals alike, side by side in the workers of `trials`.

Alike means: all begin with what stage select left (run/start.py) and are trained by the recipe as params.yaml has it,
which was tuned on none of them, with `evaluate.threads` CPU threads each. The weights lie in .winnow/compared until the
stage ends well, so that the same command goes on after a kill.
"""

import contextlib
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from winnow.config.params import Params, SpaceParams
from winnow.config.reading import check_params
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.checkpoint import hold, newest, save
from winnow.run.children import train_child, training_split
from winnow.run.fingerprint import fingerprint
from winnow.run.progress import Shown
from winnow.run.revision import md5_of
from winnow.run.rivals import of_space, section
from winnow.run.start import Start
from winnow.run.trials import executor, worker_params
from winnow.run.work import Work, promise
from winnow.tracking import Run, state_folder
from winnow.train.checkpoint import Keeper
from winnow.train.watch import Watch
from winnow.trials.executors import Executor, side_by_side
from winnow.trials.outcome import COMPLETE, Evaluate, Job


@dataclass(frozen=True)
class Network:
    """An architecture and the seed it is trained from; `space` where it is of another than that of params.yaml.

    That is JSON: the sections `space` and `retrain.space`.
    """

    arch: Architecture
    seed: int
    space: str = ""

    @classmethod
    def of(cls, arch: Architecture, seed: int, params: Params, project: Params) -> "Network":
        """One of the space of `params`, in a comparison of `project`."""
        of, usual = section(params), section(project)
        return cls(arch, seed, "" if of == usual else of)

    def params(self, project: Params) -> Params:
        """Those of the project, with the space that it is of."""
        if not self.space:
            return project
        told = json.loads(self.space)
        return of_space(project, SpaceParams.model_validate(told["space"]), told["retrain"])

    @property
    def file(self) -> str:
        of = f"-{hashlib.sha256(self.space.encode()).hexdigest()[:12]}" if self.space else ""
        return f"{self.arch.digest}{of}-{self.seed}.safetensors"


@contextlib.contextmanager
def compared(work: Work, networks: Sequence[Network]) -> Iterator[list[Path]]:
    """The weights of each of `networks`, trained; the files are there for as long as the block lasts.

    Refused where one cannot be trained.
    """
    folder = state_folder(work.folder) / "compared" / _basis(work)
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(hold(folder)):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="winnow-compared-")))
            work.say("  another process compares by the same parameters: this one trains its own")
        _train(work, networks, folder)
        yield [folder / network.file for network in networks]
        shutil.rmtree(folder, ignore_errors=True)


def _train(work: Work, networks: Sequence[Network], folder: Path) -> None:
    """One file a network in `folder`; those that are there already are left alone."""
    missing = [n for n, network in enumerate(networks) if not (folder / network.file).is_file()]
    if len(missing) < len(networks):
        there = len(networks) - len(missing)
        work.say(f"  going on with the comparison: {there} of {len(networks)} networks are there")
    if not missing:
        return
    settings = {"folder": str(work.folder.resolve()), "params": worker_params(work.params), "place": str(folder)}
    threads = torch.get_num_threads()
    try:
        _trained(work, networks, missing, executor(work, "winnow.run.compared:trainer", settings))
    finally:
        torch.set_num_threads(threads)


def _trained(work: Work, networks: Sequence[Network], missing: list[int], runs: Executor) -> None:
    with contextlib.closing(runs), Shown() as watch:
        watch.start(f"networks to compare, {runs.workers} at a time", len(missing))
        for job, outcome in side_by_side(runs, [_job(number, networks[number]) for number in missing]):
            if outcome.state != COMPLETE:
                arch, seed = networks[job.number].arch, networks[job.number].seed
                raise Refused(f"network {arch.digest} (seed {seed}) could not be trained: {outcome.error}")
            watch.step()
    work.say(f"  {len(missing)} networks trained, {runs.workers} at a time")


def _job(number: int, network: Network) -> Job:
    return Job(number, network.seed, {"space": network.space}, network.arch, {})


def trainer(folder: str, params: dict[str, Any], device: str, place: str) -> Evaluate:
    """What a worker makes once: trains the job's architecture from the job's seed and leaves its weights in `place`."""
    checked = check_params(params)
    promise(checked.evaluate.threads)
    work = Work("evaluate", checked, Path(folder), torch.device(device), Run("evaluate", None))
    training, recipe = training_split(work), checked.retrain.recipe()
    begun = Start.of(checked, work.folder, work.device, work.split)

    def train(job: Job) -> dict[str, float]:
        assert job.architecture is not None
        network = Network(job.architecture, job.seed, job.parameters["space"])
        of, path = replace(work, params=network.params(checked)), Path(place) / network.file
        with kept_in(path.with_suffix(""), checked.runtime.checkpoint_seconds) as keeper:
            label = f"{job.architecture.digest}, seed {job.seed}"
            start = Start() if network.space else begun  # the search trained nothing for another space
            model = train_child(of, job.architecture, training, job.seed, Watch(), label, keeper, recipe, start)
        files.write_tensors(path, model.state_dict(), {"digest": job.architecture.digest, "seed": job.seed})
        shutil.rmtree(path.with_suffix(""), ignore_errors=True)
        return {}

    return train


@contextlib.contextmanager
def kept_in(folder: Path, seconds: float) -> Iterator[Keeper]:
    """Checkpoints of one training, in a folder of its own."""
    if not seconds:
        yield Keeper()
        return
    folder.mkdir(parents=True, exist_ok=True)
    yield Keeper(functools.partial(save, folder), newest(folder, print), seconds)


def _basis(work: Work) -> str:
    """Of all that a trained network depends on, beside its architecture and seed."""
    params = work.params.model_dump(mode="json")
    return fingerprint(
        outside=dict(work.outside),
        begins=md5_of(work.folder / files.START),
        recipe=asdict(work.params.retrain.recipe()),
        federation=params["retrain"]["federation"],
        splits={split: about["digest"] for split, about in read_manifest(work.folder / files.SPLITS)["splits"].items()},
        trained_on=params["retrain"]["splits"],
        space=[params["space"], params["retrain"]["space"]],
        augmentation=params["data"]["augment"],
        machine=[str(work.device), params["evaluate"]["threads"], torch.__version__],
    )
