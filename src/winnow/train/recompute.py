"""Activations computed twice rather than kept: a cell of a space keeps its inputs, and its forward pass is run again
when the backward pass comes to it (Chen et al. 2016, arXiv:1604.06174).

What is computed again is what was computed: the setting, the modes of all modules, their buffers and the random numbers
are those of the first pass, and running statistics are moved by that one alone. Gradients are equal to the bit.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from winnow.core.errors import Refused
from winnow.core.holes import Hole
from winnow.core.space import Space
from winnow.train.evaluate import every_module

LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # their subclasses may read what these only write


def cells(space: Space) -> list[nn.Module]:
    """The parts of a space's network to be computed again one by one: the outermost modules with holes inside.

    Chains and lists (`nn.Sequential`, `nn.ModuleList`, `nn.ModuleDict`) are looked into, and what holds more than half
    of all holes. Refused where fewer than two parts are left: nothing would be saved.
    """
    found = _parts(space.model, len(space.holes) / 2)
    if len(found) < 2:
        raise Refused(
            "search.recompute: the open decisions of this space are all in one module, which would have to be kept "
            "whole while it is computed again: set it to false, or build the network of several modules"
        )
    return found


def _parts(module: nn.Module, most: float) -> list[nn.Module]:
    parts: dict[nn.Module, None] = {}
    for child in module.children():
        holes = sum(isinstance(each, Hole) for each in child.modules())
        inner = [] if holes <= most and not isinstance(child, LISTS) else _parts(child, most)
        parts.update(dict.fromkeys(inner or [child] * bool(holes)))
    return list(parts)


@contextlib.contextmanager
def recomputing(space: Space, parts: Sequence[nn.Module]) -> Iterator[list[nn.Module]]:
    """Inside, forward passes of `space` keep no activations of `parts`, its `cells`, where gradients are asked for.

    Yields the list of the parts that were called so. Weights may not change until the backward pass is over.
    """
    called: list[nn.Module] = []
    own = [vars(part).get("forward") for part in parts]
    for part in parts:
        part.forward = _twice(part, space, called)
    try:
        yield called
    finally:
        for part, forward in zip(parts, own, strict=True):
            if forward is None:
                del part.forward
            else:
                part.forward = forward


def _twice(part: nn.Module, space: Space, called: list[nn.Module]) -> Callable[..., Any]:
    forward = part.forward

    def run(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **named)
        called.append(part)
        contexts = contextlib.nullcontext(), _AsItWas(part, space)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=lambda: contexts, **named)

    return run


class _AsItWas(contextlib.AbstractContextManager[None]):
    """What a forward pass of `part` depends on beside weights and inputs, noted now; inside, it is so again.

    Buffers are copies, which go when the block ends: what they hold by then has seen the first pass. Those of a
    BatchNorm in training are copied no sooner: they decide nothing where a batch is normalised by itself.
    """

    def __init__(self, part: nn.Module, space: Space):
        self.board, self.setting, self.plain = space.board, space.board.setting, space.board.plain
        self.modules = [(module, _modes(module), _buffers(module)) for module in every_module(part)]
        weights = {p: None for module, _, _ in self.modules for p in module._parameters.values() if p is not None}
        self.asking = [(p, p.requires_grad) for p in weights]

    def __enter__(self) -> None:
        board = self.board
        self.posted = board.setting, board.plain
        board.setting, board.plain = self.setting, self.plain
        self.asked = [(p, p.requires_grad) for p, asks in self.asking if p.requires_grad != asks]
        for p, _ in self.asked:
            p.requires_grad_(not p.requires_grad)
        self.found = [(_modes(module), dict(module._buffers)) for module, _, _ in self.modules]
        for module, modes, buffers in self.modules:  # a graph that is kept is computed again more than once
            vars(module).update(modes)  # Module.__setattr__ is slow
            held = module._buffers if buffers is None else buffers
            module._buffers.update({name: each if each is None else each.clone() for name, each in held.items()})

    def __exit__(self, *error: object) -> None:
        self.board.setting, self.board.plain = self.posted
        for p, asks in self.asked:
            p.requires_grad_(asks)
        for (module, _, _), (modes, buffers) in zip(self.modules, self.found, strict=True):
            vars(module).update(modes)
            module._buffers.update(buffers)


def _modes(module: nn.Module) -> dict[str, bool]:
    return {name: vars(module)[name] for name in ("training", "track_running_stats") if name in vars(module)}


def _buffers(module: nn.Module) -> dict[str, Tensor] | None:
    """Copies of what a module's next forward pass depends on; None where that is nothing."""
    if type(module) in NORMS and module.training:
        return None
    return {name: each.clone() for name, each in module._buffers.items() if each is not None}
