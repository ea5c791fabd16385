"""What networks begin with: nothing that was trained, or each its own slice of what the search trained.

Stage select leaves it in one file, artifacts/start.safetensors, for all who train: the found network, trials of its
recipe, and whoever it is compared with begin alike. From scratch it holds no tensors and never changes, so that a
search that finds the same again makes no later stage run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from winnow.config.methods import trainer
from winnow.config.params import Params
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.example import noise
from winnow.core.space import Space
from winnow.data.loaders import Split
from winnow.run import files
from winnow.run.work import final_space, search_space
from winnow.train.building import covering, derived_child, fresh
from winnow.train.evaluate import calibrated
from winnow.train.seeds import seeded

REMEDY = "set retrain.from to scratch"


@dataclass(frozen=True)
class Start:
    """`space` has the weights that the search left; None: all begin from scratch.

    BatchNorm statistics of a slice are those of `rows` of split `weights`, `batch` at a time, as in selection.
    """

    space: Space | None = None
    weights: Split | None = None
    rows: int = 0
    batch: int = 0

    @classmethod
    def of(cls, params: Params, folder: Path, device: torch.device, split: Callable[[str], Split]) -> "Start":
        """What stage select left in `folder`. Refused where it did so for another `retrain.from`."""
        tensors, about = files.read_tensors(folder / files.START, "select")
        wanted = params.retrain.from_
        if about.get("from") != wanted:
            raise Refused(
                f"{files.START} was made for retrain.from {about.get('from')}, params.yaml says {wanted}: run "
                "`winnow select` again"
            )
        if wanted == "scratch":
            return cls()
        rows, batch = about.get("rows"), about.get("batch")
        if not (type(rows) is int and type(batch) is int and min(rows, batch) > 1):
            raise Refused(f"{files.START} does not say how it is calibrated: run `winnow select` again")
        space = search_space(params, folder, device)
        files.load_state(space, tensors, folder / files.START)
        return cls(space, split("weights"), rows, batch)

    def given(self, model: nn.Module, arch: Architecture) -> nn.Module:
        """`model` itself, a fresh child for `arch`, with what the search trained for it; unchanged from scratch."""
        if self.space is None or self.weights is None:
            return model
        child = derived_child(self.space, arch)
        return filled(model, calibrated(child, self.weights, self.rows, self.batch))


def filled(model: nn.Module, child: nn.Module) -> nn.Module:
    """`model` itself with all that `child` holds; what it has beside stays. Refused where a name or shape differs."""
    mine, theirs = model.state_dict(), child.state_dict()
    for name, tensor in theirs.items():
        if name not in mine or mine[name].shape != tensor.shape:
            has = f"has it as {tuple(mine[name].shape)}" if name in mine else "has no such"
            raise Refused(
                f"retrain.from: the search trained {name!r} {tuple(tensor.shape)}, and the network that is retrained "
                f"{has}: {REMEDY}, or retrain what was searched"
            )
    model.load_state_dict({**mine, **theirs})
    return model


def write_start(params: Params, folder: Path, tensors: dict[str, Tensor] | None) -> None:
    """The file; `tensors` are those of the supernet."""
    about: dict[str, object] = {"from": params.retrain.from_}
    if params.retrain.from_ == "inherited":
        assert tensors is not None  # config.methods refuses strategies that train none
        about |= {"space": params.space.name, "strategy": trainer(params)[0], "batch": params.select.batch}
        about |= {"rows": params.select.calibration_images}
    files.write_tensors(folder / files.START, tensors or {} if params.retrain.from_ == "inherited" else {}, about)


def check_start(params: Params, folder: Path) -> None:
    """Refused, before anything is trained, where a network cannot begin with what the search will train for it.

    Architectures with every option are tried: a retrained network may hold more (BatchNorm's scales, a second
    classifier), but must begin as the same function.
    """
    if params.retrain.from_ == "scratch":
        return
    space, final = search_space(params, folder), final_space(params, folder)
    assert space.example is not None
    x = noise(space.example, torch.Generator().manual_seed(0), 2)
    for arch in (each for each in covering(space) if isinstance(each, Architecture)):
        child, model = derived_child(space, arch).eval(), fresh(final, arch, "cpu", 1)
        with torch.no_grad(), seeded(0):
            here, there = filled(model, child).eval()(x), child(x)
        if not torch.allclose(here, there, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise Refused(
                f"retrain.from: with the weights of the search the network that is retrained answers otherwise, as it "
                f"is built otherwise: {REMEDY}, or retrain what was searched"
            )
