"""DARTS: differentiable architecture search (Liu et al. 2019, arXiv:1806.09055)."""

from collections.abc import Iterable

import torch

from winnow.core.space import Space
from winnow.search.gradients import Objective, first_order, second_order
from winnow.search.mixture import train_mixture
from winnow.search.relax import Logits, softmax
from winnow.train.evaluate import Batch
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
    weights = torch.optim.SGD(space.parameters(), lr, momentum, weight_decay=weight_decay)
    train_mixture(
        space,
        logits,
        train,
        valid,
        gradient=ORDERS[order],
        relax=softmax,
        objective=objective,
        weights_optimiser=weights,
        logits_optimiser=torch.optim.Adam(
            logits.parameters(), logits_lr, betas=(0.5, 0.999), weight_decay=logits_weight_decay
        ),
        epochs=epochs,
        clip=clip,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(weights, epochs, lr_min),
        watch=watch,
    )
    return logits
