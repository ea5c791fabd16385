"""Which parts of a network lie between its image and its logits.

Published codes count a ReLU or a weight when a backward pass visits it. What is fed by a constant is visited, too, and
makes a score depend on operations without any influence; here a part lives if it is on a path from the image.
"""

from collections.abc import Callable

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

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if function in RELUS:
            self.seen(args[0] if args else kwargs["input"], output)
        return output


def live_modules(model: nn.Module, x: Tensor) -> list[nn.Module]:
    """The modules that some path from the image to the logits passes through; `x` is a batch, two images are used."""
    model_modules = list(model.modules())
    copy, outputs = working_copy(model), {}
    places = {module: place for place, module in enumerate(copy.modules())}

    def keep(module: nn.Module, inputs: tuple, output: object) -> None:
        outputs.setdefault(places[module], []).append(output)

    for module in copy.modules():
        module.register_forward_hook(keep)
    nodes = _path_nodes(copy, x)
    return [
        model_modules[place]
        for place, calls in outputs.items()
        if any(isinstance(t, Tensor) and t.grad_fn in nodes for t in calls)
    ]


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
