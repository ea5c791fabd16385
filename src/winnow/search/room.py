"""Whether there is room to train in, said before anything is trained."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.recipe import Recipe
from winnow.search.several import largest
from winnow.system.machine import memory_left

GIB = 2**30


def check_room(space: Space, x: Any, recipe: Recipe) -> None:
    """Refused where training on batches like `x` needs more than is left on the device that the weights are on."""
    weights = next(space.parameters())
    needed, left = needs(space, x, recipe), left_on(weights.device)
    if needed > left:
        raise Refused(
            f"training this space on batches of {len(x)} needs about {needed / GIB:.1f} GiB beside the weights, and "
            f"{left / GIB:.1f} GiB are left on {weights.device.type}: take fewer members, or a smaller width or batch"
        )


def needs(space: Space, x: Any, recipe: Recipe) -> int:
    """Bytes of gradients, of what the optimiser remembers, and of the maps of the largest architecture for a batch.

    Maps are what each layer returns, counted on the meta device; what a backend takes beside is not known.
    """
    weights = sum(p.numel() * p.element_size() for p in space.parameters())
    remembered = 2 if recipe.optimiser != "sgd" else int(recipe.momentum > 0)
    return weights * (1 + remembered) + _maps(space, x)


@torch.no_grad()
def _maps(space: Space, x: Any) -> int:
    if not isinstance(x, Tensor):
        return 0  # of inputs that are no tensor nothing is counted
    found = 0

    def count(module: nn.Module, _: Any, output: Any) -> None:
        nonlocal found
        if isinstance(output, Tensor) and next(module.children(), None) is None:
            found += output.numel() * output.element_size()

    trial = copy.deepcopy(space).to("meta").train()
    for module in trial.model.modules():
        module.register_forward_hook(count)
    trial(torch.empty(x.shape, dtype=x.dtype, device="meta"), trial.decide(_ends(trial)))
    return found


def _ends(space: Space) -> Any:
    """The last option of each decision, but the first split: members that share least need most."""
    return lambda d: d.values[0] if d.name == "split" else largest(d)


def left_on(device: torch.device) -> float:
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return memory_left()
