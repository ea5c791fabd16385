"""Training one ordinary network from scratch."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from winnow.data.loaders import Batches
from winnow.nn.drop_path import set_drop_path
from winnow.tasks.task import Facts, Task
from winnow.train import ranks
from winnow.train.checkpoint import Keeper
from winnow.train.criteria import criterion_of, outputs_and_loss
from winnow.train.evaluate import Batch
from winnow.train.loop import Step, Told, loop, nothing
from winnow.train.optimisers import descent
from winnow.train.recipes import Recipe
from winnow.train.schedules import falling
from winnow.train.seeds import derived, seeded
from winnow.train.watch import Watch, epoch_loss


def autocast(device: torch.device | str, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The context of a forward pass in `precision`: bfloat16 where it is safe for "bf16", nothing for "fp32"."""
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def fit(
    model: nn.Module,
    batches: Collection[Batch] | Batches,
    recipe: Recipe,
    task: Task,
    *,
    seed: int,
    watch: Watch,
    facts: Facts = MappingProxyType({}),
    after_epoch: Callable[[int, nn.Module], None] = lambda epoch, model: None,
    keeper: Keeper | None = None,
    until: int | None = None,
) -> nn.Module:
    """Train `model` in place by `recipe` and return what to keep: its averaged copy if `recipe.ema`, else itself.

    `batches` gives one epoch at each iteration, `facts` are those of its data, which the criterion of `task` may need.
    `after_epoch` gets each epoch, from 0, and what would be kept if it were the last; it may leave it in evaluation
    mode, and what it raises ends the training. Dropout and drop-path draw from `seed`. It leaves off before epoch
    `until`, which `keeper` then has to go on from. The result is in evaluation mode. Refused where the loss stops
    being finite.
    """
    device = next(model.parameters()).device
    criterion = criterion_of(task, facts, derived(seed, "criterion"), recipe).to(device)
    learnt = list(criterion.parameters())
    optimiser = optimiser_of(model, recipe, learnt)
    averaged = None if recipe.ema is None else _averaged(model, recipe.ema)
    kept = model if averaged is None else averaged.module
    tally: dict[str, Any] = {}  # of the running epoch

    def begin(epoch: int) -> None:
        tally.update(sum=torch.zeros((), device=device), seen=0)

    def lesson(epoch: int) -> Step:
        set_drop_path(model, recipe.drop_path * epoch / recipe.epochs)
        return step

    def step(batch: Batch) -> Tensor:
        x, y = batch
        with autocast(device, recipe.precision):
            output = model(x)
        scores, loss = outputs_and_loss(output, y, criterion, recipe.auxiliary)
        loss.backward()
        if task.each is not None:
            tally["sum"] += task.each(scores.detach(), y).sum()
            tally["seen"] += len(y)
        return loss

    with seeded(derived(seed, "fit")):
        loop(
            model,
            batches,
            lesson,
            optimiser,
            epochs=recipe.epochs,
            section="retrain",
            told=partial(_told, task, tally),
            clip=recipe.clip,
            schedule=schedule_of(optimiser, recipe, len(batches)),
            begin=begin,
            stepped=nothing if averaged is None else lambda: averaged.update_parameters(model),
            after=lambda epoch: after_epoch(epoch, kept),
            watch=watch,
            keeper=keeper,
            until=until,
            kept={"averaged": averaged, "tally": tally, "criterion": criterion if learnt else None},
        )
    return kept.eval()


def _told(task: Task, tally: Mapping[str, Any], epoch: int, losses: Sequence[Tensor], lr: float) -> Told:
    metrics = {"loss": epoch_loss(losses, epoch, lr, "retrain")}
    if task.each is not None:
        seen = tally["seen"] * ranks.part()[1]  # shares of a batch are equal
        metrics[task.metric] = task.first.shown(float(ranks.total(tally["sum"]))) / seen
    return {**metrics, "lr": lr}, None


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)


def optimiser_of(model: nn.Module, recipe: Recipe, besides: Iterable[nn.Parameter] = ()) -> torch.optim.Optimizer:
    """Of the weights of `model` and of `besides`, what a criterion learns. Decay spares these and single numbers
    (clips).
    """
    every = list(model.parameters())
    spared = [*(p for p in every if p.dim() == 0), *besides]
    groups: list[Any] = [{"params": [p for p in every if p.dim()]}, {"params": spared, "weight_decay": 0.0}]
    return descent(
        recipe.optimiser,
        groups if spared else every,
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
