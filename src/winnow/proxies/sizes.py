"""Parameters and multiply-accumulates of any architecture of a space, counted by walking it: no child is derived."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.holes import Hole
from winnow.core.space import Space
from winnow.proxies.common import Prunable, each_output


def sizes_of(space: Space, shape: tuple[int, ...]) -> Callable[[Architecture], dict[str, float]]:
    """`params`, `macs` and `complexity` of an architecture for one image of `shape`.

    One run of the whole mixture on the meta device tells what each layer costs; candidates of one hole return one
    shape, so a layer costs the same in every child. ValueError where a layer is called at two sizes.
    """
    space = copy.deepcopy(space).to("meta").eval()
    cost: dict[nn.Module, int] = {}

    def keep(layer: nn.Module, _: torch.Tensor, output: torch.Tensor) -> None:
        elements = output.shape[1:].numel() if isinstance(layer, nn.Conv2d) else output[0].numel()
        macs = elements * layer.weight[0].numel()
        if cost.setdefault(layer, macs) != macs:
            raise ValueError("a layer is shared between places of two sizes: count its children one by one")

    each_output(space, Prunable, keep)
    mixture = {d.name: torch.ones(len(d.options), device="meta") for d in space.decisions.values() if d.pick == 1}
    with torch.no_grad():
        space(torch.empty(1, *shape, device="meta"), mixture)

    def sizes(arch: Architecture) -> dict[str, float]:
        held: set[nn.Parameter] = set()
        macs = 0

        def visit(module: nn.Module) -> None:
            nonlocal macs
            held.update(module.parameters(recurse=False))
            macs += cost.get(module, 0)
            below = module.kept(arch[module.decision.name]) if isinstance(module, Hole) else module.children()
            for child in below:
                visit(child)

        visit(space.model)
        params = float(sum(p.numel() for p in held))
        return {"params": params, "macs": float(macs), "complexity": float(macs)}

    return sizes
