"""What every proxy stands on: a copy to work on, its layers, its outputs, and scores that are numbers."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from types import UnionType
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from winnow.core.errors import Refused
from winnow.holes.ensemble import counting
from winnow.nn.attention import STD
from winnow.nn.drop_path import DropPath

Batch = tuple[Tensor, Tensor | None]  # images (n, channels, height, width), labels (n,) or None
Initialise = Callable[[nn.Module, torch.Generator], None]
Loss = Callable[[Tensor, Tensor], Tensor]

WORST = 1e8  # the finite score of a network that computes nothing: -WORST, or +WORST where small is good
BatchNorm = nn.modules.batchnorm._BatchNorm
Prunable = nn.Conv2d | nn.Linear
Kinds = type | tuple[type, ...] | UnionType
Copied = TypeVar("Copied", bound=nn.Module)


def working_copy(model: Copied) -> Copied:
    """A copy in training mode without gradients, whose layers write nothing in place; dropout and drop-path are off.

    Proxies change weights, buffers and modes of this copy only, so the caller's model stays as it was.
    """
    model = copy.deepcopy(model).train().requires_grad_(True)
    for parameter in model.parameters():
        parameter.grad = None
    for module in model.modules():
        if isinstance(module, nn.modules.dropout._DropoutNd | DropPath):
            module.eval()
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return model


def layers(model: nn.Module) -> list[Prunable]:
    """The convolutions and linear layers: what published proxies sum over. Refused where there is none."""
    found = [module for module in model.modules() if isinstance(module, Prunable)]
    if not found:
        raise Refused("this proxy reads convolutions and linear layers, and the network has none")
    return found


def logits(model: nn.Module, x: Tensor) -> Tensor:
    """What `model` answers for `x`; of several outputs the first (auxiliary heads), or the mean (of an ensemble).

    Refused where x does not fit.
    """
    try:
        output = model(x)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:
        raise misfit(tuple(x.shape), error) from error
    output = counting(output)
    if not isinstance(output, Tensor):
        raise Refused(f"the network must return a tensor of logits, not {type(output).__name__}")
    return output


def misfit(shape: tuple[int, ...], error: Exception) -> Refused:
    return Refused(f"the network does not take images of shape {shape}: {str(error).splitlines()[0]}")


def gradients(of: Tensor, inputs: Sequence[Tensor], **options: Any) -> list[Tensor]:
    """d of / d inputs; zeros where nothing arrives. Refused where `of` has no gradient, or not the one asked for."""
    if not of.requires_grad:
        raise Refused("the network is not differentiable: no gradient leads from its output to weights or images")
    try:
        found = torch.autograd.grad(of, inputs, allow_unused=True, **options)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise Refused(f"the network is not differentiable as this proxy needs it: {reason}") from error
    return [torch.zeros_like(t) if g is None else g for g, t in zip(found, inputs, strict=True)]


def several(batch: Batch, least: int = 2) -> Tensor:
    """The images of a batch. Refused where there are fewer than `least`."""
    x, _ = batch
    if len(x) < least:
        raise Refused(f"this proxy compares images: it takes a batch of {least} or more, not {len(x)}")
    return x


def labelled(batch: Batch) -> tuple[Tensor, Tensor]:
    """Images and labels. Refused without labels, with a count that differs, and where answers are boxes."""
    x, y = batch
    if y is None:
        raise Refused("this proxy needs labels: give the batch as (images, labels)")
    if len(y) != len(x):
        raise Refused(f"the batch has {len(x)} images but {len(y)} labels")
    if y.dim() > 2:
        raise Refused(
            f"this proxy needs a label a row, and an answer here has shape {tuple(y.shape[1:])}: take another"
        )
    return x, y


def loss_of(loss: Loss, output: Tensor, y: Tensor) -> Tensor:
    """`loss` of logits and labels. Refused where a label has no logit."""
    if not y.is_floating_point() and int(y.max()) >= output.shape[-1]:
        raise Refused(f"the network has {output.shape[-1]} logits, and the images have labels up to {int(y.max())}")
    return loss(output, y)


def settled(value: Tensor | float, direction: int = 1) -> float:
    """`value` as a finite number: the infinitely bad becomes the declared worst score; what has no value stays NaN."""
    value = float(value.detach() if isinstance(value, Tensor) else value) + 0.0  # no -0
    if value == -direction * math.inf:
        return -direction * WORST
    return math.nan if math.isinf(value) else value


def each_output(
    model: nn.Module, kinds: Kinds, keep: Callable[[nn.Module, Tensor, Tensor], None]
) -> list[RemovableHandle]:
    """Call `keep(module, input, output)` at each call of a module of `kinds`; give the handles to `remove()`."""

    def hook(module: nn.Module, inputs: tuple, output: object) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            keep(module, inputs[0], output)

    return [module.register_forward_hook(hook) for module in model.modules() if isinstance(module, kinds)]


@torch.no_grad()
def initialise(
    model: nn.Module,
    draw: Callable[[Tensor], object],
    biases: Callable[[Tensor, Tensor], object] = lambda bias, weight: bias.zero_(),
) -> None:
    """Give every convolution and linear weight to `draw`, biases to `biases(bias, weight)`; normalisation 1 and 0."""
    for module in model.modules():
        if isinstance(module, Prunable):
            fresh = torch.empty(module.weight.shape)  # on the CPU, so that devices get equal values
            draw(fresh)
            module.weight.copy_(fresh)
            if module.bias is not None:
                fresh_bias = torch.empty(module.bias.shape)
                biases(fresh_bias, fresh)
                module.bias.copy_(fresh_bias)
        elif isinstance(module, BatchNorm):
            module.reset_running_stats()
            if module.affine:
                module.weight.fill_(1)
                module.bias.zero_()


def as_built(model: nn.Module, generator: torch.Generator) -> None:
    """Weights and biases as torch draws them for new layers: uniform within 1 / sqrt(fan in)."""

    def uniform(tensor: Tensor, weight: Tensor) -> None:
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(tensor, -bound, bound, generator=generator)

    initialise(model, lambda weight: uniform(weight, weight), uniform)


def kaiming(mode: Literal["fan_in", "fan_out"]) -> Initialise:
    """Kaiming-normal weights for ReLU networks, by `mode` "fan_in" or "fan_out"."""

    def draw_all(model: nn.Module, generator: torch.Generator) -> None:
        initialise(model, lambda weight: nn.init.kaiming_normal_(weight, mode=mode, generator=generator))

    return draw_all


def _truncated(model: nn.Module, generator: torch.Generator) -> None:
    initialise(model, lambda weight: nn.init.trunc_normal_(weight, std=STD, generator=generator))


FAN_IN, FAN_OUT = kaiming("fan_in"), kaiming("fan_out")
TRUNCATED: Initialise = _truncated  # N(0, 0.02²), biases 0, as transformers begin


def standard_normal(model: nn.Module, generator: torch.Generator) -> None:
    """Every weight from N(0, 1)."""
    initialise(model, lambda weight: weight.normal_(generator=generator))


def noise(shape: torch.Size | tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """N(0, 1) drawn on the CPU, so that devices get equal values, and laid where `like` is."""
    return torch.randn(tuple(shape), generator=generator).to(like)


def walk(root: Any) -> Iterator[Any]:
    """Every autograd node from which gradients come to `root`, itself included."""
    seen, queue = {root}, [root]
    while queue:
        node = queue.pop()
        yield node
        for follower, _ in node.next_functions:
            if follower is not None and follower not in seen:
                seen.add(follower)
                queue.append(follower)
