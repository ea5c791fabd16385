"""Training one ordinary network from scratch."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from winnow.nn.drop_path import set_drop_path
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch
from winnow.train.loop import Step, Told, loop, nothing
from winnow.train.optimisers import descent
from winnow.train.recipes import Recipe
from winnow.train.schedules import falling
from winnow.train.seeds import derived, seeded
from winnow.train.watch import Watch, epoch_loss


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """The context of a forward pass in `precision`: bfloat16 where it is safe for "bf16", nothing for "fp32"."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def fit(
    model: nn.Module,
    batches: Collection[Batch],
    recipe: Recipe,
    *,
    seed: int,
    watch: Watch,
    after_epoch: Callable[[int, nn.Module], None] = lambda epoch, model: None,
    keeper: Keeper | None = None,
) -> nn.Module:
    """Train `model` in place by `recipe` and return what to keep: its averaged copy if `recipe.ema`, else itself.

    `batches` gives one epoch at each iteration. `after_epoch` gets each epoch, from 0, and what would be kept if it
    were the last; it may leave it in evaluation mode, and what it raises ends the training. Dropout and drop-path draw
    from `seed`. The result is in evaluation mode. Refused where the loss stops being finite.
    """
    optimiser = optimiser_of(model, recipe)
    averaged = None
    if recipe.ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    device = next(model.parameters()).device
    kept = model if averaged is None else averaged.module
    tally: dict[str, Any] = {}  # of the running epoch

    def begin(epoch: int) -> None:
        tally.update(right=torch.zeros((), device=device), seen=0)

    def lesson(epoch: int) -> Step:
        set_drop_path(model, recipe.drop_path * epoch / recipe.epochs)
        return step

    def step(batch: Batch) -> Tensor:
        x, y = batch
        with autocast(device, recipe.precision):
            output = model(x)
        scores, loss = scores_and_loss(output, y, recipe)
        loss.backward()
        tally["right"] += (scores.detach().argmax(1) == y).sum()
        tally["seen"] += len(y)
        return loss

    def told(epoch: int, losses: Sequence[Tensor], lr: float) -> Told:
        accuracy = 100 * float(tally["right"]) / tally["seen"]
        return {"loss": epoch_loss(losses, epoch, lr, "retrain"), "accuracy": accuracy, "lr": lr}, None

    with seeded(derived(seed, "fit")):
        loop(
            model,
            batches,
            lesson,
            optimiser,
            epochs=recipe.epochs,
            section="retrain",
            told=told,
            clip=recipe.clip,
            schedule=schedule_of(optimiser, recipe, len(batches)),
            begin=begin,
            stepped=nothing if averaged is None else lambda: averaged.update_parameters(model),
            after=lambda epoch: after_epoch(epoch, kept),
            watch=watch,
            keeper=keeper,
            kept={"averaged": averaged, "tally": tally},
        )
    return kept.eval()


def scores_and_loss(output: Tensor | tuple[Tensor, Tensor], y: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Class scores and the loss; a network with a second classifier returns both scores while training."""
    scores, second = output if isinstance(output, tuple) else (output, None)
    loss = F.cross_entropy(scores.float(), y, label_smoothing=recipe.label_smoothing)
    if second is not None:
        loss = loss + recipe.auxiliary * F.cross_entropy(second.float(), y, label_smoothing=recipe.label_smoothing)
    return scores, loss


def optimiser_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return descent(
        recipe.optimiser,
        model.parameters(),
        recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def schedule_of(optimiser: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """That of `recipe`, for epochs of so many `steps`; it steps with each."""
    return falling(
        optimiser,
        recipe.schedule,
        recipe.epochs * steps,
        recipe.lr_min,
        warmup=recipe.warmup_epochs * steps,
        decay=recipe.decay,
        every=steps,
    )
