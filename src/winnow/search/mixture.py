"""Training a supernet as a mixture: logits and weights in turns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from winnow.core.decision import Value
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.data.loaders import Cursor
from winnow.search.gradients import Gradient, Objective, first_order
from winnow.search.penalties import Penalty
from winnow.search.relax import Logits, Relax, softmax
from winnow.train import ranks
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.loop import Step, Told, loop
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
Between = Callable[[Mapping[str, Value]], Parts]  # the parts after some decisions are made, by decision
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
            (loss,) = ranks.meet(logits.values(), loss)
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
                valid_losses.extend(ranks.meet((), objective(validation.next(), now.relax(logits))))
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
