"""Training a supernet as a mixture: logits and weights in turns."""

from collections.abc import Iterable

import torch
from torch import nn

from winnow.core.space import Space
from winnow.data.loaders import forever
from winnow.search.gradients import Gradient, Objective, Relax
from winnow.search.relax import Logits
from winnow.train.evaluate import Batch
from winnow.train.watch import Watch, check_finite, epoch_loss


def train_mixture(
    space: Space,
    logits: Logits,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    gradient: Gradient,
    relax: Relax,
    objective: Objective,
    weights_optimiser: torch.optim.Optimizer,
    logits_optimiser: torch.optim.Optimizer,
    epochs: int,
    clip: float,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    watch: Watch | None = None,
) -> None:
    """`epochs` passes over `train`, each step preceded by a logits step on the next batch of `valid`.

    `valid` starts again when it is used up, with a new order. Gradients of the weights are clipped to norm `clip`.
    Refused where the loss stops being finite.
    """
    watch = watch or Watch()
    space.train()
    validation = forever(valid)
    for epoch in range(epochs):
        losses, valid_losses = [], []
        for step, batch in enumerate(train):
            lr = weights_optimiser.param_groups[0]["lr"]
            logits_optimiser.zero_grad()
            valid_losses.append(gradient(space, logits, relax, objective, batch, next(validation), weights_optimiser))
            logits_optimiser.step()

            weights_optimiser.zero_grad()
            with torch.no_grad():
                setting = relax(logits)  # constants here: the weights step asks nothing of the logits
            loss = objective(batch, setting)
            check_finite(loss, epoch, step, lr, "search")
            loss.backward()
            nn.utils.clip_grad_norm_(space.parameters(), clip)
            weights_optimiser.step()
            losses.append(loss.detach())
            watch.step()
        metrics = {
            "train_loss": epoch_loss(losses, epoch, lr, "search"),
            "valid_loss": float(torch.stack(valid_losses).mean()),
            "lr": lr,
        }
        with torch.no_grad():
            watch.epoch(epoch, metrics, {k: v for k, v in relax(logits).items() if isinstance(v, torch.Tensor)})
        if schedule is not None:
            schedule.step()
