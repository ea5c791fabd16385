"""Training a supernet as a mixture: logits and weights in turns."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Required, TypedDict, Unpack

import torch
from torch import Tensor, nn

from winnow.core.decision import Value
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.data.loaders import Cursor
from winnow.search.gradients import Gradient, Objective, first_order
from winnow.search.penalties import Penalty
from winnow.search.relax import Logits, Relax, deciding, softmax
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.optimisers import sgd
from winnow.train.seeds import generator
from winnow.train.watch import Watch, check_finite, epoch_loss


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


def _nothing(epoch: int) -> None:
    pass


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
    epochs: int,
    clip: float,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    begin: Begin = _nothing,
    watch: Watch | None = None,
    keeper: Keeper | None = None,
) -> None:
    """`epochs` passes over `train`, each step preceded by a logits step on the next batch of `valid`.

    `valid` starts again when it is used up, with a new order. Gradients of the weights are clipped to norm `clip`.
    Ends early where `watch` asks for it. Refused where the loss stops being finite.
    """
    watch, keeper = watch or Watch(), keeper or Keeper()
    watch.follow(logits)
    space.train()
    training, validation = Cursor(train), Cursor(valid)
    losses: list[Tensor] = []
    valid_losses: list[Tensor] = []
    for epoch in keeper.rounds(
        epochs,
        "epoch",
        space=space,
        logits=logits,
        weights_optimiser=weights_optimiser,
        logits_optimiser=logits_optimiser,
        schedule=schedule,
        training=training,
        validation=validation,
        losses=losses,
        valid_losses=valid_losses,
        watch=watch,
    ):
        if not training.taken:
            begin(epoch)
        now, lr = parts(epoch), weights_optimiser.param_groups[0]["lr"]
        for batch in training.epoch():
            if now.learn_logits:
                logits_optimiser.zero_grad()
                loss = now.gradient(space, logits, now.relax, objective, batch, validation.next(), weights_optimiser)
                if now.penalty is not None:
                    now.penalty(logits).backward()
                logits_optimiser.step()
                valid_losses.append(loss)
            if now.learn_weights:
                loss = objective(batch, _constant(now, logits, batch))
                check_finite(loss, epoch, training.taken - 1, lr, "search")
                _descend(now.shape(loss), space, weights_optimiser, clip)
                losses.append(loss.detach())
            watch.step()
            keeper.due()
        if not valid_losses:
            with torch.no_grad(), batch_statistics(space):
                valid_losses.append(objective(validation.next(), now.relax(logits)))
        metrics = {
            "train_loss": epoch_loss(losses or valid_losses, epoch, lr, "search"),
            "valid_loss": float(torch.stack(valid_losses).mean()),
            "lr": lr,
        }
        stop = watch.epoch(epoch, metrics, _told(now, logits))
        if schedule is not None and now.learn_weights:
            schedule.step()
        losses.clear()
        valid_losses.clear()
        if stop:
            break


@torch.no_grad()  # constants: the weights step asks nothing of the logits
def _constant(now: Parts, logits: Logits, batch: Batch) -> Setting:
    return now.relax(logits) if now.attach is None else now.attach(logits, batch)


def _descend(loss: Tensor, space: Space, optimiser: torch.optim.Optimizer, clip: float) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(space.parameters(), clip)
    optimiser.step()


@torch.no_grad()
def _told(now: Parts, logits: Logits) -> dict[str, Tensor]:
    """The mixture weights to show."""
    weights = (now.told or now.relax)(logits)
    return {name: value for name, value in weights.items() if isinstance(value, Tensor)}


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
    begin: Begin = _nothing,
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


def remember(optimiser: torch.optim.Adam, logits: Logits) -> None:
    """Let Adam go on with the `moments` of the logits."""
    state = {
        i: {key: torch.tensor(value) for key, value in logits.moments[name].items()}
        for i, name in enumerate(logits)
        if name in logits.moments
    }
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


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
    parts: Callable[[Mapping[str, Value]], Parts] = lambda decided: Parts(relax=deciding(softmax, decided)),
    keeper: Keeper | None = None,
) -> Callable[[Mapping[str, Value]], None]:
    """What DARTS-PT does between two decisions: a function of the decisions made so far that trains `epochs` epochs on.

    Decided options are constants of the mixture; open logits go on by first-order steps, or by `parts(decided)`.
    Learning rate and both optimisers' states last over all calls; that of the logits goes on from the search's, which
    `logits.moments` are (Wang et al. 2021, public code; 0.1 x the search's rate for the weights, never lowered).
    """
    weights = sgd(space.parameters(), lr, momentum=momentum, weight_decay=weight_decay)
    logits_optimiser = adam(logits, logits_lr, logits_weight_decay)
    remember(logits_optimiser, logits)
    keeper = keeper or Keeper()
    keeper.add(space=space, logits=logits, weights_optimiser=weights, logits_optimiser=logits_optimiser)
    keeper.add(train=train, valid=valid)

    def tune(decided: Mapping[str, Value]) -> None:
        train_mixture(
            space,
            logits,
            train,
            valid,
            parts=lambda epoch: parts(decided),
            objective=objective,
            weights_optimiser=weights,
            logits_optimiser=logits_optimiser,
            epochs=epochs,
            clip=clip,
            keeper=keeper,
        )

    return tune
