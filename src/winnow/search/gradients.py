"""Gradients of the logits: each function fills `logits[name].grad` and returns the validation loss.

A `setting` function turns logits into a setting; `objective(batch, setting)` is a scalar loss of the space. Weights and
BatchNorm statistics are afterwards what they were, to the byte.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn

from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.search.relax import Logits
from winnow.train.evaluate import Batch, batch_statistics

Objective = Callable[[Batch, Setting], Tensor]
Relax = Callable[[Mapping[str, Tensor]], Setting]
Gradient = Callable[[Space, Logits, Relax, Objective, Batch, Batch, torch.optim.Optimizer], Tensor]


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter of `module` asks for a gradient: backward passes skip all weight gradients."""
    asking = [p for p in module.parameters() if p.requires_grad]
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
) -> Tensor:
    """The gradient of the validation loss at the present weights (Liu et al. 2019, section 2.3 with xi = 0)."""
    with frozen(space), batch_statistics(space):
        loss = objective(valid, relax(logits))
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

    The step takes learning rate, momentum, its buffer and weight decay from `weights_optimiser`, as the authors' code
    does. `mixed` computes the term with the second derivative: `finite_difference` unless given, `exact` as its oracle.
    """
    mixed = mixed or finite_difference
    weights = list(space.parameters())
    group = weights_optimiser.param_groups[0]
    before = [w.detach().clone() for w in weights]
    with batch_statistics(space):
        grads = torch.autograd.grad(objective(train, relax(logits)), weights, allow_unused=True)
        with torch.no_grad():
            for w, grad in zip(weights, grads, strict=True):
                buffer = weights_optimiser.state.get(w, {}).get("momentum_buffer")
                move = group["weight_decay"] * w
                move = move if grad is None else move + grad
                move = move if buffer is None else move + group["momentum"] * buffer
                w -= group["lr"] * move
        try:
            loss = objective(valid, relax(logits))
            answers = torch.autograd.grad(loss, [*logits.values(), *weights], allow_unused=True)
        finally:
            _put_back(weights, before)
        direct = answers[: len(logits)]
        vector = [_zero(g, w) for g, w in zip(answers[len(logits) :], weights, strict=True)]
        correction = mixed(space, logits, relax, objective, train, vector)
    for parameter, grad, term in zip(logits.values(), direct, correction, strict=True):
        parameter.grad = _zero(grad, parameter) - group["lr"] * term
    return loss.detach()


Mixed = Callable[[Space, Logits, Relax, Objective, Batch, list[Tensor]], list[Tensor]]


def finite_difference(
    space: Space, logits: Logits, relax: Relax, objective: Objective, train: Batch, vector: list[Tensor]
) -> list[Tensor]:
    """d2 L / d logits d weights, times `vector`, from gradients at weights +- eps x vector, eps = 0.01 / |vector|."""
    norm = torch.sqrt(sum(v.double().square().sum() for v in vector))
    if norm == 0:
        return [torch.zeros_like(parameter) for parameter in logits.values()]
    eps = 0.01 / float(norm)
    weights = list(space.parameters())
    before = [w.detach().clone() for w in weights]
    sides = []
    try:
        for sign in (1.0, -1.0):
            with torch.no_grad():
                for w, start, v in zip(weights, before, vector, strict=True):
                    w.copy_(start + sign * eps * v)
            with frozen(space):
                loss = objective(train, relax(logits))
                sides.append(torch.autograd.grad(loss, list(logits.values()), allow_unused=True))
    finally:
        _put_back(weights, before)
    return [
        (_zero(plus, p) - _zero(minus, p)) / (2 * eps) for p, plus, minus in zip(logits.values(), *sides, strict=True)
    ]


def exact(
    space: Space, logits: Logits, relax: Relax, objective: Objective, train: Batch, vector: list[Tensor]
) -> list[Tensor]:
    """The same product by differentiating twice: slow and memory-hungry, the oracle of `finite_difference`."""
    grads = torch.autograd.grad(
        objective(train, relax(logits)), list(space.parameters()), create_graph=True, allow_unused=True
    )
    product = sum((g * v).sum() for g, v in zip(grads, vector, strict=True) if g is not None)
    terms = torch.autograd.grad(product, list(logits.values()), allow_unused=True)
    return [_zero(term, parameter) for term, parameter in zip(terms, logits.values(), strict=True)]


def _zero(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


@torch.no_grad()
def _put_back(weights: list[nn.Parameter], before: list[Tensor]) -> None:
    for w, start in zip(weights, before, strict=True):
        w.copy_(start)
