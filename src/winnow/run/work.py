"""What every stage stands on while it runs: device, threads, splits, space, tracking."""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from winnow.config.methods import formed
from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused, passed_users, told
from winnow.core.options import takes
from winnow.core.space import Space
from winnow.data.decoded import Limit, size_of
from winnow.data.inputs import Inputs
from winnow.data.loaders import Split, manifest_for, open_split, reads_of
from winnow.run import files, lineage
from winnow.run.imports import on_path
from winnow.run.networks import outlined, searched
from winnow.run.outside import READS, digests
from winnow.run.progress import console
from winnow.spaces import AUTO, SPACES
from winnow.system import disk, energy, heap, machine
from winnow.tasks import task_named
from winnow.tasks.task import Task
from winnow.tracking import Dataset, Run, state_folder, track
from winnow.tracking.facts import flatten
from winnow.train.building import laid
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived


@dataclass
class Work:
    """A running stage."""

    stage: str
    params: Params
    folder: Path
    device: torch.device
    run: Run
    outside: Mapping[str, str] = field(default_factory=dict)  # digests of what it reads beside the splits, by parameter

    @property
    def task(self) -> Task:
        return task_named(self.params.task)

    def split(self, name: str) -> Split:
        return opened(self.params, self.folder, name, stage=self.stage, device=self.device, say=self.say)

    def picture(self, name: str, chart: str, *arguments: Any) -> None:
        """A chart of `look` (bounds, charts, tradeoff, trials) for the run alone, as `name`; the report draws its own.

        It ends no work: without a place for it, a line says so.
        """
        if not self.params.tracking.enabled:
            return
        try:
            from winnow.look import bounds, charts, tradeoff, trials
            from winnow.run.draw import save  # matplotlib must not hold up the first training step

            room = next(each for each in (charts, tradeoff, trials, bounds) if hasattr(each, chart))
            figure = getattr(room, chart)(*arguments)
            with tempfile.TemporaryDirectory() as passing:
                path = Path(passing) / f"{name}.png"
                save(figure, path)
                self.run.artifact(path, "drawings")
        except OSError as error:
            why = error.strerror or error
            self.say(f"  no picture {name!r} in MLflow: {why} (temporary files go to TMPDIR, now {_passing()})")

    def say(self, text: str) -> None:
        console.print(text)


@contextlib.contextmanager
def working(
    stage: str,
    params: Params,
    folder: Path,
    *,
    splits: tuple[str, ...] = (),
    upstream: tuple[str, ...] = (),
    name: str = "",
) -> Iterator[Work]:
    """Run the block as `stage`, tracked as `name` (the stage's own unless given), with what it reads as MLflow inputs.

    The modules in `folder` can be imported from here on. Turns what an operating system or a device refuses into one
    sentence; refuses too where something outside is missing, or has changed since a stage of `upstream` saw it.
    The record of the run tells its parameters, and what the block took: seconds, and joules where they are counted.
    """
    on_path(folder)
    outside = digests(params, folder, READS[stage])
    lineage.check_upstream(params, folder, upstream)
    told: dict[str, Any] = {"outside": outside, "read": lineage.read_by(folder, upstream)}
    told["params"] = flatten(params.model_dump(exclude={"tracking"}))
    device = choose_device(params)
    inputs = _inputs(folder, task_named(params.task), splits) if splits else []
    records = [folder / files.RUNS / f"{each}.json" for each in upstream]
    began = time.monotonic()
    with (
        refusals(params),
        track(
            name or stage,
            params=params.model_dump(),
            root=folder,
            tracking=params.tracking,
            inputs=inputs,
            upstream=records,
            more=told,
        ) as run,
        energy.metered(energy.counters(_uuid(device))) as meter,
    ):
        run.tag("winnow.device", str(device))
        for key, digest in outside.items():
            run.tag(f"winnow.input.{key}", digest)
        yield Work(stage, params, folder, device, run, outside)
        told["wrote"] = lineage.written_by(folder, name or stage)
        told |= {"seconds": round(time.monotonic() - began, 3), "joules": meter.look()}
        if told["joules"]:
            run.metrics({f"joules/{counter}": joules for counter, joules in told["joules"].items()})
    console.print(f"[dim]{name or stage} took {time.monotonic() - began:.0f} s[/dim]")


def opened(
    params: Params,
    folder: Path,
    name: str,
    *,
    stage: str,
    device: torch.device | str,
    say: Callable[[str], None] = lambda text: None,
) -> Split:
    """A split as every stage opens it: in memory, or on disk where all together are over data.memory_gib."""
    task = task_named(params.task)
    return open_split(
        folder / files.SPLITS, name, task, stage=stage, device=device, limit=limit_of(params, folder, say)
    )


def limit_of(params: Params, folder: Path, say: Callable[[str], None] = lambda text: None) -> Limit:
    return Limit(int(params.data.memory_gib * 2**30), state_folder(folder) / "decoded", say)


def where(params: Params, folder: Path) -> str:
    """How large the splits are as arrays, and where they are read from."""
    task, place = task_named(params.task), folder / files.SPLITS
    manifest = manifest_for(place, task)
    size, most = size_of(place, manifest, reads_of(task, manifest)), limit_of(params, folder).most
    told = f"{size / 2**30:.2f} GiB decoded"
    if size <= most:
        return f"{told}, held in memory (data.memory_gib: {params.data.memory_gib:g})"
    return f"{told}, over data.memory_gib: {params.data.memory_gib:g}, so read from disk and shuffled by block"


def facts(params: Params, folder: Path) -> dict[str, Any]:
    """What a space's builder needs to know of the data, as their task has it, and the task's name."""
    task = task_named(params.task)
    return {"task": task.name, **task.facts(manifest_for(folder / files.SPLITS, task)["facts"])}


def search_space(params: Params, folder: Path, device: torch.device | str = "cpu") -> Space:
    """The space as a search begins with it, laid out on `device`: the same values wherever it is asked for."""
    on_path(folder)
    seed = derived(derived(params.seed, "search"), "initialise")
    space = searched(params.space.name, params.space.chosen(), facts(params, folder), seed, formed(params))
    return laid(space.to(device))


def final_space(params: Params, folder: Path) -> Space:
    """The space in its retraining form and size: to count on and to derive `fresh` children from."""
    on_path(folder)
    options = {**params.space.chosen(), **params.retrain.space}
    auxiliary = params.retrain.recipe().needs_auxiliary
    return outlined(params.space.name, options, facts(params, folder), auxiliary=auxiliary)


def about_model(
    params: Params,
    fact: Mapping[str, Any],
    arch: Architecture,
    training: Split,
    seed: int,
    options: Mapping[str, Any] | None = None,
    *,
    initial: int,
) -> dict[str, Any]:
    """What a model file says of itself: enough to build the network and to feed it; `options` if not retraining's.

    `initial` is what its first values were drawn from: of a user's network, some are in no file.
    """
    options = dict({**params.space.chosen(), **params.retrain.space} if options is None else options)
    if params.space.name == AUTO:
        options["weights"] = None  # where training began; the file holds where it ended
    return {
        "space": params.space.name,
        "options": options,
        "facts": dict(fact),
        "auxiliary": params.retrain.recipe().needs_auxiliary,
        "choices": dict(arch.choices),
        "digest": arch.digest,
        "task": params.task,
        **training.facts,
        "from": params.begins,
        "trained_on": training.digest,
        "seed": seed,
        **({} if params.space.name in SPACES else {"initial": initial}),  # winnow's own leave nothing out of files
    }


def recipe_of(params: Params, folder: Path) -> Recipe:
    """What stage tune left: the recipe of params.yaml with what its trials found. Refused where it has not run."""
    return files.read_recipe(folder / files.RECIPE, params.retrain.recipe())


def augmentation(params: Params, split: Split, cutout: int = 0) -> Inputs:
    """The inputs of training, augmented as params.yaml says and, where it says nothing, as the task does.

    Refused where the recipe cuts out of what is no image.
    """
    task, options = task_named(params.task), dict(params.data.augment)
    if cutout and not takes(task.augment, "cutout"):
        raise Refused(f"retrain.cutout: task {task.name!r} has no such augmentation; set it to 0")
    return task.inputs(split.facts, task.augment(split.facts, **options | ({"cutout": cutout} if cutout else {})))


def device_of(params: Params) -> torch.device:
    """The device of `runtime.device`. Refused where there is no such."""
    name = params.runtime.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise Refused(f"runtime.device is {name!r}, but this machine has no CUDA device: set it to auto or cpu")
    device = torch.device(name)
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise Refused(f"runtime.device is {name!r}, but there are {torch.cuda.device_count()} CUDA devices")
    return device


def choose_device(params: Params) -> torch.device:
    """The device of `runtime.device`, with threads and determinism set as promised. Refused where there is no such."""
    device = device_of(params)
    promise(params.runtime.threads or machine.threads())
    return device


def _uuid(device: torch.device) -> str:
    """As NVML calls it; "" for what is no GPU of NVIDIA's."""
    if device.type != "cuda" or torch.version.cuda is None:
        return ""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def promise(threads: int) -> None:
    """Equal bits from equal threads on equal hardware (docs/determinism.md), for this process from here on.

    It trains, so it keeps what it frees, too, which changes no bit.
    """
    heap.keep()
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it first starts
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True) without its two seconds of imports
    torch.backends.cudnn.benchmark = False


def _passing() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR", "not set")


def _inputs(folder: Path, task: Task, splits: tuple[str, ...]) -> list[Dataset]:
    manifest = manifest_for(folder / files.SPLITS, task)
    digests = {name: manifest["splits"][name]["digest"] for name in splits}
    return [Dataset(name, digest, files.SPLITS / f"{name}.parquet", name) for name, digest in digests.items()]


@contextlib.contextmanager
def refusals(params: Params) -> Iterator[None]:
    """What a device or an operating system refuses, in one sentence."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise Refused(
            "out of GPU memory: lower search.batch, select.batch or retrain.batch of the stage that ran, use precision "
            f"bf16, or a smaller space (space.{params.space.name}); the device said: {str(error).splitlines()[0]}"
        ) from error
    except OSError as error:
        if sentence := disk.sentence(error):
            raise Refused(sentence) from error
        raise
    except Refused:
        raise
    except Exception as error:
        if params.space.name in SPACES or not passed_users(error):
            raise
        raise Refused(f"space {params.space.name!r}: {told(error)}") from error
