"""Parameters and multiply-accumulates of any architecture of a space, counted by walking it: no child is derived."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.holes import Hole
from winnow.core.space import Space
from winnow.proxies.common import Prunable, each_output


def sizes_of(space: Space, shape: tuple[int, ...]) -> Callable[[Architecture], dict[str, float]]:
    """`params`, `macs` and `complexity` of an architecture for one image of `shape`.

    Candidates of one hole return one shape, so a layer costs the same in every child: an architecture is run, on the
    meta device, only if it holds a layer that none before it held. ValueError where a layer is called at two sizes.
    """
    space = copy.deepcopy(space).to("meta").eval()
    cost: dict[nn.Module, int] = {}

    def keep(layer: nn.Module, _: torch.Tensor, output: torch.Tensor) -> None:
        elements = output.shape[1:].numel() if isinstance(layer, nn.Conv2d) else output[0].numel()
        macs = elements * layer.weight[0].numel()
        if cost.setdefault(layer, macs) != macs:
            raise ValueError("a layer is shared between places of two sizes: count its children one by one")

    each_output(space, Prunable, keep)

    def sizes(arch: Architecture) -> dict[str, float]:
        reached = list(_reached(space.model, arch))
        layers = [module for module in reached if isinstance(module, Prunable)]
        if any(layer not in cost for layer in layers):
            with torch.no_grad():
                space(torch.empty(1, *shape, device="meta"), arch)
        held = {p for module in reached for p in module.parameters(recurse=False)}
        macs = float(sum(cost.get(layer, 0) for layer in layers))
        return {"params": float(sum(p.numel() for p in held)), "macs": macs, "complexity": macs}

    return sizes


def _reached(module: nn.Module, arch: Architecture) -> Iterator[nn.Module]:
    yield module
    for child in module.kept(arch[module.decision.name]) if isinstance(module, Hole) else module.children():
        yield from _reached(child, arch)
