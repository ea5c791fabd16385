"""Parameters and multiply-accumulates of any architecture of a space, counted by walking it where that is possible."""

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, get_args

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.example import Example, zeros
from winnow.core.holes import Asking, Hole
from winnow.core.space import Space
from winnow.holes.quantised import QuantisedConv
from winnow.measure import cost
from winnow.proxies.common import Prunable, each_output

Sizes = Callable[[Architecture], dict[str, float]]


def later(make: Callable[[], Sizes]) -> Sizes:
    """The sizes that `make()` gives, which is called when the first are asked for."""
    made = functools.cache(make)
    return lambda arch: made()(arch)


def sizes_of(space: Space, example: Example) -> Sizes:
    """`params`, `macs` and `complexity` of an architecture for one input like `example`, such as (3, 32, 32).

    And `bitops`, where the space has layers that are quantised.

    Candidates of one hole return one shape, so a layer costs the same in every child, and an elastic one what its
    numbers make of it: an architecture is run, on the meta device, only if it holds a layer that none before it held.
    Where a layer is held in several places or called
    more often than it is held, or the space does not run on that device, children are derived and counted one by one;
    but those in a module that is `steady` are called as often, at the same sizes, in every network that holds it.
    """
    walk = _walking(space, example)
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
        macs = float(cost.macs(child, example))
        bitops = {"bitops": float(cost.bitops(child, example))} if quantised(space) else {}
        return {"params": float(cost.params(child)), "macs": macs, "complexity": macs, **bitops}

    def sizes(arch: Architecture) -> dict[str, float]:
        if arch.digest not in known:
            known[arch.digest] = counted(arch)
        return known[arch.digest]

    return sizes


def _walking(space: Space, example: Example) -> Sizes:
    """ValueError from the first architecture whose layers do not cost the same wherever they are held."""
    space = copy.deepcopy(space).to("meta").eval()
    steady = {layer for each in space.modules() if getattr(each, "steady", False) for layer in each.modules()}
    known: dict[nn.Module, int] = {}  # positions of a layer's output, at each of which its weight is used once
    calls: Counter[nn.Module] = Counter()
    settled: dict[tuple[object, ...], nn.Module] = {}

    def keep(layer: nn.Module, _: torch.Tensor, output: torch.Tensor) -> None:
        if not isinstance(layer, Prunable) and not _leaf(layer):
            return
        positions = output[0, 0].numel() if output.dim() == 4 else output[0].numel() // output.shape[-1]
        calls[layer] += 1
        if layer in steady:
            known[layer] = positions + (known[layer] if calls[layer] > 1 else 0)
        elif known.setdefault(layer, positions) != positions:
            raise ValueError("a layer is called at two sizes")

    each_output(space, (*get_args(Prunable), Hole), keep)
    rounds = quantised(space)

    def plain(module: nn.Module, arch: Architecture) -> nn.Module:
        """What a leaf becomes in `arch`; another module is what it is."""
        if not _leaf(module):
            return module
        assert isinstance(module, Hole)
        answers = {d.name: arch[d.name] for d in module.decisions}
        key = (module, *answers.values())
        if key not in settled:
            settled[key] = module.settled(answers)
            if next(settled[key].children(), None) is not None:
                raise ValueError("a leaf becomes several layers")
        return settled[key]

    def sizes(arch: Architecture) -> dict[str, float]:
        places = list(_reached(space.model, arch))
        reached: dict[nn.Module, Any] = {module: plain(module, arch) for module in places}
        if any(hasattr(module, "multiplications") for module in reached.values()):
            raise ValueError("a module says itself what it costs, for inputs that only a child has")
        layers = [module for module in places if isinstance(reached[module], Prunable)]
        if any(layer not in known for layer in layers):
            calls.clear()
            with torch.no_grad():
                space(zeros(example, device="meta"), arch)
            counts = Counter(layer for layer in layers if layer not in steady)
            if any(calls[layer] not in (0, times) for layer, times in counts.items()):
                raise ValueError("a layer is called more often than it is held")
        held = {p for module in reached.values() for p in module.parameters(recurse=False)}
        each = [(known.get(layer, 0) * reached[layer].weight.numel(), reached[layer]) for layer in layers]
        macs = float(sum(count for count, _ in each))
        bitops = {"bitops": float(sum(count * cost.bits_of(layer) for count, layer in each))} if rounds else {}
        return {"params": float(sum(p.numel() for p in held)), "macs": macs, "complexity": macs, **bitops}

    return sizes


def quantised(space: Space) -> bool:
    """Whether some layer of its networks says its bits."""
    return any(isinstance(m, QuantisedConv) or cost.bits_of(m) for m in space.modules())


def _leaf(module: nn.Module) -> bool:
    """Whether it is one layer of open numbers."""
    return isinstance(module, Hole) and not isinstance(module, Asking)


def _places(module: nn.Module) -> Iterator[nn.Module]:
    """Every module, decided or not, once for each place that holds it."""
    yield module
    for child in module.children():
        yield from _places(child)


def _reached(module: nn.Module, arch: Architecture) -> Iterator[nn.Module]:
    yield module
    for child in module.inside(arch) if isinstance(module, Hole) else module.children():
        yield from _reached(child, arch)
