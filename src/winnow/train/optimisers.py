"""Optimisers with one kernel for all tensors where it takes them: on small networks a step by tensors costs a layer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def eager(kind: type[Optimizer]) -> type[Any]:
    """`kind` of optimiser, step for step the same, that leaves torch's compiler alone.

    torch imports its compiler, longer than all the rest of torch, when the first optimiser is made and when it steps:
    to be told not to compile those methods, and for a mark between two compiled graphs. Nothing here compiles an
    optimiser. A torch whose methods are wrapped in another way is left as it is.
    """
    for method in (kind.state_dict, kind.load_state_dict, kind.zero_grad, kind.add_param_group):
        if hasattr(method, "__wrapped__"):
            method.__wrapped__.__dynamo_disable = method.__wrapped__  # what torch would look up
    step = getattr(kind.step, "__wrapped__", None)
    return kind if step is None else type(kind.__name__, (kind,), {"step": torch.no_grad()(step)})


SGD, Adam, AdamW = eager(torch.optim.SGD), eager(torch.optim.Adam), eager(torch.optim.AdamW)


def fused(weights: Iterable[nn.Parameter]) -> bool:
    """Whether one kernel takes all of them: it knows no complex numbers, and none without values."""
    return not any(weight.is_complex() or weight.is_meta for weight in weights)


def sgd(
    weights: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    lr: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.SGD:
    """SGD over weights or groups of them; a weight without a gradient (None) is left alone, its momentum too.

    Make it after the weights are on their device. Momentum starts at zero rather than with the first gradient, which
    comes to the same: the fused kernel cannot start it for one path's weights and go on with another's.
    """
    groups: list[Any] = list(weights)
    every = [p for w in groups for p in (w["params"] if isinstance(w, dict) else [w])]
    optimiser = SGD(
        groups, lr, momentum, weight_decay=weight_decay, nesterov=nesterov and momentum > 0, fused=fused(every)
    )
    for group in optimiser.param_groups:
        for weight in group["params"] if momentum else ():
            optimiser.state[weight]["momentum_buffer"] = torch.zeros_like(weight, requires_grad=False)
    return optimiser


def descent(
    kind: str,
    weights: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    lr: float,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> torch.optim.Optimizer:
    """Of `kind` sgd, adam (decay is added to the gradient) or adamw (it is not); momentum is SGD's alone."""
    groups: list[Any] = list(weights)
    if kind == "sgd":
        return sgd(groups, lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)
    every = [p for w in groups for p in (w["params"] if isinstance(w, dict) else [w])]
    make = {"adam": Adam, "adamw": AdamW}[kind]
    return make(groups, lr, weight_decay=weight_decay, fused=fused(every))
