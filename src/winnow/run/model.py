"""A trained network from its file, without the search that found it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.data.inputs import Inputs
from winnow.data.inputs.images import facts_of
from winnow.run import files
from winnow.run.networks import outlined
from winnow.spaces import AUTO, SPACES
from winnow.tasks import TASKS, USUAL, task_named
from winnow.train.building import fresh

LARGEST = 100_000  # channels, cells, classes, pixels of a side
LARGEST_FIELD = 2**24  # ids of a field


def load_model(
    path: Path | str, space: str | None = None, task: str | None = None
) -> tuple[nn.Module, Mapping[str, Any]]:
    """The trained network of a model.safetensors, in evaluation mode on the CPU, and what the file says of itself.

    Inputs are (batch, *about["shape"]) float32, as `prepared` makes them of what the data have. A space or task of your
    own takes its name, "my_package.my_module:build", as `space` (of space auto that of the network) or `task`: a file
    must not choose which code is run. Refused where the file is missing, damaged or not of this kind.
    """
    path = Path(path)
    tensors, about = files.read_tensors(path, "retrain")
    try:
        _check_trusted(path, about, space, task)
        child = _child(about)
        inputs_of(about)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise Refused(
            f"{path} does not say which network it holds ({type(error).__name__}: {error}): run `winnow retrain` again"
        ) from error
    wanted = child.state_dict()
    if {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise Refused(f"{path} holds the weights of another network than it says: run `winnow retrain` again")
    files.load_state(child, tensors, path)
    return child.eval(), about


def prepared(given: Tensor, about: Mapping[str, Any]) -> Tensor:
    """Rows as the data have them, as the network takes them. Refused where their shape differs.

    Images: pixels (batch, channels, height, width), 0 to 255. Audio: clips (batch, samples), full scale 32768. Tables:
    cells (batch, fields + dense) float64, categories as `data.sources.cells.key_of` has them, NaN where one is missing.
    """
    inputs = inputs_of(about)
    x = inputs.make({inputs.reads[0]: given}, {})
    if list(x.shape[1:]) != list(about["shape"]):
        raise Refused(f"rows have shape {tuple(given.shape)}, and the network takes (batch, {about['shape']}) of them")
    return x


def inputs_of(about: Mapping[str, Any]) -> Inputs:
    """How what the network is given is made of the data, as its file says; files of an older winnow name no task."""
    return task_named(about.get("task", USUAL)).inputs(about)


def _check_trusted(path: Path, about: Mapping[str, Any], space: str | None, task: str | None) -> None:
    """Refuse a file that names code which is neither winnow's nor named by who opens it."""
    name = about["options"]["model"] if about["space"] == AUTO else about["space"]  # whose code is run
    if name not in SPACES and name != space:
        raise Refused(
            f"{path} is of space {name!r}, which is not winnow's: name it as `space` (--space) if you trust it"
        )
    for name in (about.get("task", USUAL), about["facts"].get("task", USUAL)):
        if name not in TASKS and name != task:
            raise Refused(
                f"{path} is of task {name!r}, which is not winnow's: name it as `task` (--task) if you trust it"
            )


def _child(about: Mapping[str, Any]) -> nn.Module:
    """The network as its training began with it. ValueError for a size that none has: it would be built for ever."""
    for key, value in {**about["options"], **about["facts"]}.items():
        if isinstance(value, int) and value > LARGEST:
            raise ValueError(f"{key} is {value}")
        if key == "fields" and (large := [name for name, size in value if size > LARGEST_FIELD]):
            raise ValueError(f"field {large[0]!r} is too large")
    fact = {key: tuple(value) if isinstance(value, list) else value for key, value in about["facts"].items()}
    if "task" not in fact:  # what an older file leaves out; what it says, its network was built by
        fact = facts_of(about["shape"]) | fact
    space = outlined(about["space"], about["options"], fact, auxiliary=about["auxiliary"])
    return fresh(space, Architecture.of(about["choices"]), "cpu", about.get("initial", 0))


def logged_model(folder: Path, file: str, space: str | None = None, task: str | None = None) -> nn.Module:
    """For the tracker: the network of `file` in `folder`, without the parts that only training uses."""
    return load_model(folder / file, space, task)[0]
