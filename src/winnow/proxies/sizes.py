"""Parameters and multiply-accumulates of any architecture of a space, counted by walking it where that is possible."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.holes import Hole
from winnow.core.space import Space
from winnow.measure import cost
from winnow.proxies.common import Prunable, each_output

Sizes = Callable[[Architecture], dict[str, float]]


def sizes_of(space: Space, shape: tuple[int, ...]) -> Sizes:
    """`params`, `macs` and `complexity` of an architecture for one image of `shape` (channels, height, width).

    Candidates of one hole return one shape, so a layer costs the same in every child: an architecture is run, on the
    meta device, only if it holds a layer that none before it held. Where a layer is held in several places or called
    more often than it is held, or the space does not run on that device, children are derived and counted one by one.
    """
    walk = _walking(space, shape)
    known: dict[str, dict[str, float]] = {}
    places = Counter(module for module in _places(space.model) if isinstance(module, Prunable))
    plain = max(places.values(), default=1) > 1

    def counted(arch: Architecture) -> dict[str, float]:
        nonlocal plain
        if not plain:
            try:
                return walk(arch)
            except Exception:  # whatever stops a walk stops no count; a child that cannot be counted says so itself
                plain = True
        child = space.derive(arch).eval()
        macs = float(cost.macs(child, shape))
        return {"params": float(cost.params(child)), "macs": macs, "complexity": macs}

    def sizes(arch: Architecture) -> dict[str, float]:
        if arch.digest not in known:
            known[arch.digest] = counted(arch)
        return known[arch.digest]

    return sizes


def _walking(space: Space, shape: tuple[int, ...]) -> Sizes:
    """ValueError from the first architecture whose layers do not cost the same wherever they are held."""
    space = copy.deepcopy(space).to("meta").eval()
    known: dict[nn.Module, int] = {}
    calls: Counter[nn.Module] = Counter()

    def keep(layer: nn.Module, _: torch.Tensor, output: torch.Tensor) -> None:
        elements = output.shape[1:].numel() if isinstance(layer, nn.Conv2d) else output[0].numel()
        macs = elements * layer.weight[0].numel()
        calls[layer] += 1
        if known.setdefault(layer, macs) != macs:
            raise ValueError("a layer is called at two sizes")

    each_output(space, Prunable, keep)

    def sizes(arch: Architecture) -> dict[str, float]:
        reached = list(_reached(space.model, arch))
        layers = [module for module in reached if isinstance(module, Prunable)]
        if any(layer not in known for layer in layers):
            calls.clear()
            with torch.no_grad():
                space(torch.empty(1, *shape, device="meta"), arch)
            if any(calls[layer] not in (0, times) for layer, times in Counter(layers).items()):
                raise ValueError("a layer is called more often than it is held")
        held = {p for module in reached for p in module.parameters(recurse=False)}
        macs = float(sum(known.get(layer, 0) for layer in layers))
        return {"params": float(sum(p.numel() for p in held)), "macs": macs, "complexity": macs}

    return sizes


def _places(module: nn.Module) -> Iterator[nn.Module]:
    """Every module, decided or not, once for each place that holds it."""
    yield module
    for child in module.children():
        yield from _places(child)


def _reached(module: nn.Module, arch: Architecture) -> Iterator[nn.Module]:
    yield module
    for child in module.inside(arch) if isinstance(module, Hole) else module.children():
        yield from _reached(child, arch)
