"""Mixture weights disturbed for the weights step, so that the loss becomes flat around them (SmoothDARTS)."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from winnow.core.decision import Value
from winnow.core.space import Space
from winnow.search.estimators import one_hot
from winnow.search.gradients import Gradient, Objective, first_order, frozen
from winnow.search.relax import laid
from winnow.train.evaluate import Batch

Weights = Mapping[str, Tensor]
Disturb = Callable[[Weights, Batch, Mapping[str, Value]], dict[str, Tensor]]
GRADIENTS: dict[str, Gradient] = {  # of the logits, by kind of noise: an attack reads running statistics
    "random": first_order,
    "adversarial": partial(first_order, move_statistics=True),
}


def simplex(row: Tensor) -> Tensor:
    """`row` (options,) clamped to [0, 1] and divided by its sum; its largest entry alone where nothing is left."""
    kept = row.clamp(0, 1)
    kept = torch.where(kept.sum() == 0, one_hot(row.argmax(), kept), kept)
    return kept / kept.sum()


def random_noise(epsilon: float, generator: torch.Generator) -> Disturb:
    """Uniform noise in [-epsilon, epsilon] on every weight, then `simplex` (SDARTS-RS)."""

    def disturb(weights: Weights, batch: Batch, decided: Mapping[str, Value] = {}) -> dict[str, Tensor]:
        return {name: simplex(row + _uniform(row, epsilon, generator)) for name, row in weights.items()}

    return disturb


def adversarial_noise(
    space: Space, objective: Objective, epsilon: float, generator: torch.Generator, steps: int = 7
) -> Disturb:
    """The noise that hurts most: `steps` of projected sign ascent on the training loss, random start (SDARTS-ADV).

    Falls back to the undisturbed weights where the attack has not raised the loss. The network is in evaluation mode
    meanwhile, on running statistics that the logits step moves too (`GRADIENTS`), as in the authors' code.
    """

    def disturb(weights: Weights, batch: Batch, decided: Mapping[str, Value] = {}) -> dict[str, Tensor]:
        training = space.training
        space.eval()
        with frozen(space):
            clean = objective(batch, {**weights, **decided})
            moved = {name: simplex(row + _uniform(row, epsilon, generator)) for name, row in weights.items()}
            for _ in range(steps):
                asked = {name: row.detach().requires_grad_() for name, row in moved.items()}
                with torch.enable_grad():
                    loss = objective(batch, {**asked, **decided})
                ascent = torch.autograd.grad(loss, list(asked.values()), allow_unused=True)
                for (name, row), up in zip(asked.items(), ascent, strict=True):
                    step = torch.zeros_like(row) if up is None else 2 * epsilon / steps * up.sign()
                    away = (row.detach() + step - weights[name]).clamp(-epsilon, epsilon)
                    moved[name] = simplex(weights[name] + away)
            worse = objective(batch, {**moved, **decided}) >= clean
        space.train(training)
        return {name: torch.where(worse, moved[name], row) for name, row in weights.items()}

    return disturb


def _uniform(row: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    return laid(epsilon * (2 * torch.rand(row.shape, generator=generator, dtype=torch.float64) - 1), row)
