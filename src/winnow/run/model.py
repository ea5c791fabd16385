"""A trained network from its file, without the search that found it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.data.inputs.images import facts_of
from winnow.run import files
from winnow.run.networks import outlined
from winnow.spaces import SPACES
from winnow.train.building import fresh


def load_model(path: Path | str, space: str | None = None) -> tuple[nn.Module, Mapping[str, Any]]:
    """The trained network of a model.safetensors, in evaluation mode on the CPU, and what the file says of itself.

    Inputs are (batch, *about["shape"]) float32: pixels / 255, minus about["mean"], over about["std"], as `prepared`
    makes them. A network of a space of your own takes its name, "my_package.my_module:build", as `space`: a file must
    not choose which function is called. Refused where the file is missing, damaged or not of this kind.
    """
    path = Path(path)
    tensors, about = files.read_tensors(path, "retrain")
    try:
        child = _child(path, about, space)
        fits = len(about["mean"]) == len(about["std"]) == about["shape"][0] and isinstance(about["classes"], list)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise Refused(
            f"{path} does not say which network it holds ({type(error).__name__}: {error}): run `winnow retrain` again"
        ) from error
    wanted = child.state_dict()
    if not fits or {n: t.shape for n, t in tensors.items()} != {n: t.shape for n, t in wanted.items()}:
        raise Refused(f"{path} holds the weights of another network than it says: run `winnow retrain` again")
    files.load_state(child, tensors, path)
    return child.eval(), about


def prepared(images: Tensor, about: Mapping[str, Any]) -> Tensor:
    """Pixels (batch, channels, height, width), 0 to 255, as the network takes them. Refused where the shape differs."""
    if list(images.shape[1:]) != list(about["shape"]):
        raise Refused(f"images have shape {tuple(images.shape)}, the network takes (batch, {about['shape']})")
    mean, std = (torch.tensor(about[name]).view(-1, 1, 1) for name in ("mean", "std"))
    return (images.float() / 255 - mean) / std.where(std > 0, torch.tensor(1 / 255))


def _child(path: Path, about: Mapping[str, Any], trusted: str | None) -> nn.Module:
    """The network as its training began with it."""
    name = about["space"]
    if name not in SPACES and name != trusted:
        raise Refused(
            f"{path} is of space {name!r}, which is not winnow's: name it as `space` (--space) if you trust it"
        )
    told = {key: tuple(value) if isinstance(value, list) else value for key, value in about["facts"].items()}
    fact = {**facts_of(about["shape"]), **told}  # what an older file leaves out; what it says, its network was built by
    space = outlined(name, about["options"], fact, auxiliary=about["auxiliary"])
    return fresh(space, Architecture.of(about["choices"]), "cpu", about.get("initial", 0))


def logged_model(folder: Path, file: str, space: str | None = None) -> nn.Module:
    """For the tracker: the network of `file` in `folder`, without the parts that only training uses."""
    return load_model(folder / file, space)[0]
