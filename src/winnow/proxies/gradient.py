"""Scores of one backward pass: gradient norm, SNIP, GraSP, Fisher and plain (Abdelfattah et al. 2021).

All take the mean cross-entropy of one batch in training mode with the weights that the model has (`plain`: with new
ones), sum over layers without averaging, and count weights of convolutions and linear layers only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from winnow.proxies.common import (
    Batch,
    Initialise,
    Loss,
    Prunable,
    as_built,
    each_output,
    gradients,
    labelled,
    layers,
    logits,
    loss_of,
    settled,
    working_copy,
)


class Twice(TorchFunctionMode):
    """Inside, a hard sigmoid is written as a cut line, since torch knows its first derivative only."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.hardsigmoid:
            return F.relu6((args[0] if args else kwargs["input"]) + 3) / 6
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Pass:
    """One backward pass: weights with their gradients, and layers with their outputs and the gradients of those."""

    weights: list[tuple[Tensor, Tensor]]
    outputs: list[tuple[Prunable, Tensor, Tensor]]


def grad_norm(model: nn.Module, batch: Batch, loss: Loss = F.cross_entropy) -> float:
    """The sum of each layer's gradient norm; not the norm of all gradients together."""
    return first_order(model, batch, ("grad_norm",), loss)["grad_norm"]


def snip(model: nn.Module, batch: Batch, loss: Loss = F.cross_entropy) -> float:
    """The sum of |g * w|: how much the loss notices the loss of each weight (Lee et al. 2019)."""
    return first_order(model, batch, ("snip",), loss)["snip"]


def plain(
    model: nn.Module,
    batch: Batch,
    generator: torch.Generator,
    loss: Loss = F.cross_entropy,
    init: Initialise | None = as_built,
) -> float:
    """The signed sum of g * w. Small is good: it runs against accuracy on NAS-Bench-201.

    Weights are drawn anew from `generator`, as torch draws those of new layers. BatchNorm makes the sums of most
    convolutions vanish, so that the score is that of the classifier and of what has no norm behind it: children that
    share one drawing of these are not told apart (Spearman -0.02 with accuracy, where weights of their own give -0.37).
    """
    model = working_copy(model)
    if init is not None:
        init(model, generator)
    run = _run(model, batch, loss, outputs=False)
    return settled(sum((g * w).sum(dtype=torch.float64) for w, g in run.weights), -1)


def fisher(model: nn.Module, batch: Batch, loss: Loss = F.cross_entropy) -> float:
    """The sum over output channels of mean over images of (sum over places of a * dL/da)^2 / 2, times the weights of
    the channel (Turner et al. 2020); a is a layer's output. The loss is a mean, so dL/da carries 1/n."""
    return first_order(model, batch, ("fisher",), loss)["fisher"]


def first_order(model: nn.Module, batch: Batch, names: Sequence[str], loss: Loss = F.cross_entropy) -> dict[str, float]:
    """Those `names` of `FIRST_ORDER` from one backward pass."""
    run = _run(working_copy(model), batch, loss, outputs="fisher" in names)
    return {name: FIRST_ORDER[name](run) for name in names}


def _run(model: nn.Module, batch: Batch, loss: Loss, outputs: bool) -> Pass:
    """One pass of a working copy; with the `outputs` of its layers, where they are asked for."""
    (x, y), held = labelled(batch), layers(model)
    seen: list[tuple[Any, Tensor]] = []
    if outputs:
        each_output(model, Prunable, lambda layer, _, output: seen.append((layer, output)))
    found = gradients(loss_of(loss, logits(model, x), y), [layer.weight for layer in held] + [a for _, a in seen])
    weights = [(layer.weight.detach(), g) for layer, g in zip(held, found, strict=False)]
    return Pass(weights, [(layer, a.detach(), g) for (layer, a), g in zip(seen, found[len(held) :], strict=True)])


def grasp(model: nn.Module, batch: Batch, loss: Loss = F.cross_entropy) -> float:
    """The sum of -w * (Hg), H the Hessian of the loss and g its gradient (Wang et al. 2020); temperature 1.

    The sign is that of architecture search: pruning keeps the other end.
    """
    model, (x, y) = working_copy(model), labelled(batch)
    weights = [layer.weight for layer in layers(model)]
    with Twice():
        output = logits(model, x)
    first = gradients(loss_of(loss, output, y), weights, create_graph=True)
    products: Any = sum((g.detach() * g).sum() for g in first)
    moved: Any = sum(
        (w * hg).sum(dtype=torch.float64) for w, hg in zip(weights, gradients(products, weights), strict=True)
    )
    return settled(-moved)


def _fisher(run: Pass) -> float:
    total = torch.zeros((), dtype=torch.float64)
    for layer, a, g in run.outputs:
        product = a.double() * g.double()
        channels_last = product.movedim(1, -1) if isinstance(layer, nn.Conv2d) else product
        saliency = channels_last.flatten(1, -2).sum(1) if channels_last.dim() > 2 else channels_last
        total += saliency.square().mean(0).sum().cpu() / 2 * layer.weight[0].numel()
    return settled(total)


FIRST_ORDER: dict[str, Callable[[Pass], float]] = {  # what the model's own weights say
    "grad_norm": lambda run: settled(sum(g.double().norm() for _, g in run.weights)),
    "snip": lambda run: settled(sum((g * w).abs().sum(dtype=torch.float64) for w, g in run.weights)),
    "fisher": _fisher,
}
