"""Gradients of the logits: each function fills `logits[name].grad` and returns the validation loss.

A `setting` function turns logits into a setting; `objective(batch, setting)` is a scalar loss of the space. Weights and
BatchNorm statistics are afterwards what they were, to the byte, unless statistics are asked to move.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.search.relax import Logits, Relax
from winnow.train.evaluate import Batch, batch_statistics, every_module
from winnow.train.seeds import seeded

Objective = Callable[[Batch, Setting], Tensor]
Gradient = Callable[[Space, Logits, Relax, Objective, Batch, Batch, torch.optim.Optimizer], Tensor]


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter of `module` asks for a gradient: backward passes skip all weight gradients."""
    held = {p: None for m in every_module(module) for p in m._parameters.values()}  # a shared one once
    asking = [p for p in held if p is not None and p.requires_grad]
    try:
        for p in asking:
            p.requires_grad_(False)
        yield
    finally:
        for p in asking:
            p.requires_grad_(True)


def first_order(
    space: Space,
    logits: Logits,
    relax: Relax,
    objective: Objective,
    train: Batch,
    valid: Batch,
    weights_optimiser: torch.optim.Optimizer,
    move_statistics: bool = False,
) -> Tensor:
    """The gradient of the validation loss at the present weights (Liu et al. 2019, section 2.3 with xi = 0).

    Logits that the loss does not depend on, because `relax` has decided for them, get none (None, not zero).
    `move_statistics`: running statistics of BatchNorms see the validation batch, as in the authors' code; nothing of a
    search reads them but an attack in evaluation mode.
    """
    with frozen(space), contextlib.nullcontext() if move_statistics else batch_statistics(space):
        loss = objective(valid, relax(logits))
        if loss.requires_grad:  # not where every decision is made
            loss.backward()
    return loss.detach()


def second_order(
    space: Space,
    logits: Logits,
    relax: Relax,
    objective: Objective,
    train: Batch,
    valid: Batch,
    weights_optimiser: torch.optim.Optimizer,
    mixed: "Mixed | None" = None,
) -> Tensor:
    """The gradient at the weights after one virtual SGD step on `train` (Liu et al. 2019, equations 6 to 8).

    The step takes learning rates, momentum, its buffers and weight decay from `weights_optimiser`, as the authors' code
    does. `mixed` computes the term with the second derivative: `finite_difference` unless given, `exact` as its oracle.
    Random modules (dropout, noise) draw the same whenever the loss on `train` is asked for: it is one function.
    """
    mixed = mixed or finite_difference
    weights, draws = weights_of(space), int(torch.randint(2**62, ()))
    groups = {w: group for group in weights_optimiser.param_groups for w in group["params"]}

    def training(batch: Batch, setting: Setting) -> Tensor:
        with seeded(draws):
            return objective(batch, setting)

    before = [w.detach().clone() for w in weights]
    with batch_statistics(space):
        grads = torch.autograd.grad(training(train, relax(logits)), weights, allow_unused=True)
        try:
            with torch.no_grad():
                for w, grad in zip(weights, grads, strict=True):
                    if grad is not None:
                        w.sub_(groups[w]["lr"] * _move(w, grad, groups[w], weights_optimiser))
            loss = objective(valid, relax(logits))
            answers = torch.autograd.grad(loss, [*logits.values(), *weights], allow_unused=True)
        finally:
            _put_back(weights, before)
        direct = answers[: len(logits)]
        vector = [
            torch.zeros_like(w) if grad is None or answer is None else _length(groups[w]) * answer
            for w, grad, answer in zip(weights, grads, answers[len(logits) :], strict=True)
        ]
        correction = mixed(space, logits, relax, training, train, vector)
    for parameter, grad, term in zip(logits.values(), direct, correction, strict=True):
        parameter.grad = _zero(grad, parameter) - term
    return loss.detach()


def weights_of(space: Space) -> list[nn.Parameter]:
    """The weights that are trained, in a fixed order: what the `vector` of a mixed derivative goes along."""
    return [w for w in space.parameters() if w.requires_grad]


def _move(w: Tensor, grad: Tensor, group: dict[str, Any], optimiser: torch.optim.Optimizer) -> Tensor:
    """What SGD subtracts from `w`, over the learning rate."""
    move = grad + group["weight_decay"] * w
    buffer = optimiser.state.get(w, {}).get("momentum_buffer")
    rolled = move if buffer is None else move + group["momentum"] * buffer
    return move + group["momentum"] * rolled if group["nesterov"] else rolled


def _length(group: dict[str, Any]) -> float:
    """By how much SGD moves a weight along its own gradient."""
    return group["lr"] * (1 + group["momentum"] if group["nesterov"] else 1)


Mixed = Callable[[Space, Logits, Relax, Objective, Batch, list[Tensor]], list[Tensor]]


def finite_difference(
    space: Space, logits: Logits, relax: Relax, objective: Objective, train: Batch, vector: list[Tensor]
) -> list[Tensor]:
    """d2 L / d logits d weights, times `vector`, from gradients at weights +- eps x vector, eps = 0.01 / |vector|.

    Steps so small are for fp32: where forward passes run in bf16, the product is off by 10 to 50 %.
    """
    norm = nn.utils.get_total_norm(vector).double()
    eps = torch.full_like(norm, 0.01) / norm.where(norm > 0, 1.0)  # along nothing, both sides are one: zeros
    weights = weights_of(space)
    before = [w.detach().clone() for w in weights]
    sides = []
    try:
        for sign in (1.0, -1.0):
            _put_back(weights, before)
            with torch.no_grad():
                for w, v in zip(weights, vector, strict=True):
                    w.addcmul_(v, (sign * eps).to(w))
            with frozen(space):
                loss = objective(train, relax(logits))
                sides.append(torch.autograd.grad(loss, list(logits.values()), allow_unused=True))
    finally:
        _put_back(weights, before)
    return [
        (_zero(plus, p) - _zero(minus, p)) / (2 * eps).to(p)
        for p, plus, minus in zip(logits.values(), *sides, strict=True)
    ]


def exact(
    space: Space, logits: Logits, relax: Relax, objective: Objective, train: Batch, vector: list[Tensor]
) -> list[Tensor]:
    """The same product by differentiating twice: slow and memory-hungry, the oracle of `finite_difference`.

    Compare them on smooth networks: a difference sees the kinks of ReLU that lie between its two sides, this does not.
    """
    grads = torch.autograd.grad(
        objective(train, relax(logits)), weights_of(space), create_graph=True, allow_unused=True
    )
    product: Any = sum((g * v).sum() for g, v in zip(grads, vector, strict=True) if g is not None)
    terms = torch.autograd.grad(product, list(logits.values()), allow_unused=True)
    return [_zero(term, parameter) for term, parameter in zip(terms, logits.values(), strict=True)]


def _zero(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


@torch.no_grad()
def _put_back(weights: list[nn.Parameter], before: list[Tensor]) -> None:
    torch._foreach_copy_(tuple(weights), before)
