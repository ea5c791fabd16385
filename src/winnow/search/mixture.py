"""Training a supernet as a mixture: logits and weights in turns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Required, TypedDict, Unpack

import torch
from torch import Tensor

from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.data.loaders import Cursor
from winnow.search.gradients import Gradient, Objective, first_order
from winnow.search.penalties import Penalty
from winnow.search.relax import Logits, Relax, softmax
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.loop import Step, Told, loop, nothing
from winnow.train.optimisers import sgd
from winnow.train.seeds import generator
from winnow.train.watch import Watch, epoch_loss


def _unchanged(loss: Tensor) -> Tensor:
    return loss


@dataclass(frozen=True)
class Parts:
    """What the two steps are made of; a method gives them for each epoch, which is its schedule."""

    relax: Relax = softmax  # from logits to the setting of the logits step
    gradient: Gradient = first_order
    penalty: Penalty | None = None  # added to the validation loss
    attach: Callable[[Logits, Batch], Setting] | None = None  # setting of the weights step; None: that of `relax`
    shape: Callable[[Tensor], Tensor] = _unchanged  # the training loss, before it is descended
    learn_logits: bool = True
    learn_weights: bool = True
    told: Relax | None = None  # the mixture weights to show, where `relax` draws them; None: those of `relax`


Schedule = Callable[[int], Parts]  # the parts of epoch 0, 1, ...; asked when it begins, and when a run goes on in it
Begin = Callable[[int], None]  # what a method does before epoch 0, 1, ...; once each, however often a run is stopped


def train_mixture(
    space: Space,
    logits: Logits,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    parts: Schedule,
    objective: Objective,
    weights_optimiser: torch.optim.Optimizer,
    logits_optimiser: torch.optim.Optimizer,
    watch: Watch | None = None,
    **course: Any,
) -> None:
    """`loop` over `train`, with what `course` says; a logits step on the next batch of `valid` precedes each step.

    `valid` starts again when it is used up, with a new order. A schedule steps once an epoch.
    """
    watch = watch or Watch()
    watch.follow(logits)
    validation = Cursor(valid)
    valid_losses: list[Tensor] = []
    now = Parts()  # those of the running epoch

    def lesson(epoch: int) -> Step:
        nonlocal now
        now = parts(epoch)
        return step

    def step(batch: Batch) -> Tensor | None:
        if now.learn_logits:
            logits_optimiser.zero_grad()
            loss = now.gradient(space, logits, now.relax, objective, batch, validation.next(), weights_optimiser)
            if now.penalty is not None:
                now.penalty(logits).backward()
            logits_optimiser.step()
            valid_losses.append(loss)
        if not now.learn_weights:
            return None
        with torch.no_grad():  # constants: the weights step asks nothing of the logits
            setting = now.relax(logits) if now.attach is None else now.attach(logits, batch)
        loss = objective(batch, setting)
        now.shape(loss).backward()
        return loss

    @torch.no_grad()
    def told(epoch: int, losses: Sequence[Tensor], lr: float) -> Told:
        if not valid_losses:
            with batch_statistics(space):
                valid_losses.append(objective(validation.next(), now.relax(logits)))
        mean = epoch_loss(losses or valid_losses, epoch, lr, "search")
        metrics = {"train_loss": mean, "valid_loss": float(torch.stack(valid_losses).mean()), "lr": lr}
        weights = (now.told or now.relax)(logits)
        return metrics, {name: value for name, value in weights.items() if isinstance(value, Tensor)}

    loop(
        space,
        train,
        lesson,
        weights_optimiser,
        section="search",
        told=told,
        every="epoch",
        after=lambda epoch: valid_losses.clear(),
        watch=watch,
        kept=dict(logits=logits, of_logits=logits_optimiser, validation=validation, valid_losses=valid_losses),
        **course,
    )


class Recipe(TypedDict, total=False):
    """The outer loop of DARTS, which most methods keep; missing numbers are its published ones."""

    objective: Required[Objective]
    seed: Required[int]
    watch: Required[Watch]
    keeper: Keeper
    lr: float
    lr_min: float
    momentum: float
    weight_decay: float
    clip: float
    logits_lr: float
    logits_weight_decay: float


def keep(recipe: Recipe, **parts: Any) -> None:
    """Let checkpoints hold what a method has of its own: generators, dicts, lists, what has `state` and `restore`."""
    (recipe.get("keeper") or Keeper()).add(**parts)


def bilevel(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int,
    parts: Schedule,
    begin: Begin = nothing,
    logits: Logits | None = None,
    **recipe: Unpack[Recipe],
) -> Logits:
    """`train_mixture` with SGD on a cosine for the weights and Adam for the logits, which are returned.

    `logits` are the usual ones (`Logits`) unless given, and get Adam's `moments`. Source of all numbers: Liu et al.
    2019, public code.
    """
    device = next(space.parameters()).device
    if logits is None:
        logits = Logits(space, generator(recipe["seed"], "logits"))
    logits = logits.to(device)
    rates = recipe.get("lr", 0.025), recipe.get("lr_min", 0.001)
    momentum, decay = recipe.get("momentum", 0.9), recipe.get("weight_decay", 3e-4)
    weights = sgd(space.parameters(), rates[0], momentum=momentum, weight_decay=decay)
    of_logits = adam(logits, recipe.get("logits_lr", 3e-4), recipe.get("logits_weight_decay", 1e-3))
    train_mixture(
        space,
        logits,
        train,
        valid,
        parts=parts,
        objective=recipe["objective"],
        weights_optimiser=weights,
        logits_optimiser=of_logits,
        epochs=epochs,
        clip=recipe.get("clip", 5.0),
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(weights, epochs, rates[1]),
        begin=begin,
        watch=recipe["watch"],
        keeper=recipe.get("keeper"),
    )
    logits.moments = {
        name: {key: value.tolist() for key, value in of_logits.state[vector].items()}
        for name, vector in logits.items()
        if vector in of_logits.state
    }
    return logits


def adam(logits: Logits, lr: float, weight_decay: float) -> torch.optim.Adam:
    """The optimiser of the logits (Liu et al. 2019); a vector without a gradient (None) is left alone."""
    return torch.optim.Adam(logits.parameters(), lr, betas=(0.5, 0.999), weight_decay=weight_decay, fused=True)
