"""Which parts of a network lie between its image and its logits.

Published codes count a ReLU or a weight when a backward pass visits it. What is fed by a constant is visited, too, and
makes a score depend on operations without any influence; here a part lives if it is on a path from the image.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from winnow.proxies.common import logits, walk, working_copy

RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu6, F.leaky_relu}


class Relus(TorchFunctionMode):
    """Inside, `seen(input, output)` is called at every ReLU, be it a module or a function, in order of calls."""

    def __init__(self, seen: Callable[[Tensor, Tensor], None]):
        super().__init__()
        self.seen = seen

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function in RELUS:
            self.seen(args[0] if args else kwargs["input"], output)
        return output


def live_modules(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """The modules that some path from the image to the logits passes through; `x` is a batch, two images are used."""
    copy = working_copy(model)
    live = set(live_among(copy, copy.modules(), x))
    return [module for module, copied in zip(model.modules(), copy.modules(), strict=True) if copied in live]


def live_among(model: nn.Module, modules: Iterable[nn.Module], x: Tensor) -> list[nn.Module]:
    """Those of `modules` that live while `model`, a working copy, answers `x`."""
    outputs: list[tuple[nn.Module, object]] = []

    def keep(module: nn.Module, inputs: tuple, output: object) -> None:
        outputs.append((module, output))

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        nodes = _path_nodes(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return [module for module, output in outputs if isinstance(output, Tensor) and output.grad_fn in nodes]


def live_relus(model: nn.Module, x: Tensor, copied: bool = True) -> list[bool]:
    """For every ReLU call of a forward pass, in order: is it on a path from the image to the logits?

    Without a copy the model must be a working copy already.
    """
    found: list[object] = []
    with Relus(lambda _, output: found.append(output.grad_fn)):
        nodes = _path_nodes(working_copy(model) if copied else model, x)
    return [node in nodes for node in found]


def _path_nodes(model: nn.Module, x: Tensor) -> set[object]:
    """Autograd nodes of the paths from the image to the logits: with weights frozen, there are no others."""
    model.requires_grad_(False)
    output = logits(model, x[:2].detach().clone().requires_grad_())
    return set(walk(output.grad_fn)) if output.grad_fn is not None else set()
