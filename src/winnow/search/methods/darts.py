"""DARTS: differentiable architecture search (Liu et al. 2019, arXiv:1806.09055)."""

from collections.abc import Callable, Iterable, Mapping

import torch

from winnow.core.decision import Value
from winnow.core.space import Space
from winnow.search.gradients import Objective, first_order, second_order
from winnow.search.mixture import train_mixture
from winnow.search.relax import Logits, softmax
from winnow.train.evaluate import Batch
from winnow.train.optimisers import sgd
from winnow.train.seeds import generator
from winnow.train.watch import Watch

ORDERS = {"first": first_order, "second": second_order}


def darts(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    objective: Objective,
    seed: int,
    watch: Watch,
    epochs: int = 50,
    lr: float = 0.025,
    lr_min: float = 0.001,
    momentum: float = 0.9,
    weight_decay: float = 3e-4,
    clip: float = 5.0,
    order: str = "first",
    logits_lr: float = 3e-4,
    logits_weight_decay: float = 1e-3,
) -> Logits:
    """Train weights on `train` and logits on `valid` in turns; returns the logits, `space` keeps the weights.

    The defaults are the published CIFAR-10 search. `order` is "first" (xi = 0) or "second" (one unrolled step).
    """
    device = next(space.parameters()).device
    logits = Logits(space, generator(seed, "logits")).to(device)
    weights = sgd(space.parameters(), lr, momentum=momentum, weight_decay=weight_decay)
    train_mixture(
        space,
        logits,
        train,
        valid,
        gradient=ORDERS[order],
        relax=softmax,
        objective=objective,
        weights_optimiser=weights,
        logits_optimiser=_adam(logits, logits_lr, logits_weight_decay),
        epochs=epochs,
        clip=clip,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(weights, epochs, lr_min),
        watch=watch,
    )
    return logits


def resume_mixture(
    space: Space,
    logits: Logits,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    objective: Objective,
    epochs: int,
    lr: float,
    momentum: float,
    weight_decay: float,
    clip: float,
    logits_lr: float,
    logits_weight_decay: float,
) -> Callable[[Mapping[str, Value]], None]:
    """What DARTS-PT does between two decisions: a function of the decisions made so far that trains `epochs` epochs on.

    Decided options are constants of the mixture; open logits go on by first-order steps. Learning rate and both
    optimisers' states last over all calls (Wang et al. 2021, public code: 0.1 x the search's rate, never lowered).
    """
    weights = sgd(space.parameters(), lr, momentum=momentum, weight_decay=weight_decay)
    adam = _adam(logits, logits_lr, logits_weight_decay)

    def tune(decided: Mapping[str, Value]) -> None:
        train_mixture(
            space,
            logits,
            train,
            valid,
            gradient=first_order,
            relax=lambda vectors: {**softmax(vectors), **decided},
            objective=objective,
            weights_optimiser=weights,
            logits_optimiser=adam,
            epochs=epochs,
            clip=clip,
        )

    return tune


def _adam(logits: Logits, lr: float, weight_decay: float) -> torch.optim.Adam:
    return torch.optim.Adam(logits.parameters(), lr, betas=(0.5, 0.999), weight_decay=weight_decay, fused=True)
