"""Training one ordinary network from scratch."""

from collections.abc import Callable, Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from winnow.nn.drop_path import set_drop_path
from winnow.train.evaluate import Batch
from winnow.train.optimisers import sgd
from winnow.train.recipes import Recipe
from winnow.train.seeds import derived, seeded
from winnow.train.watch import Watch, check_finite, epoch_loss


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
) -> nn.Module:
    """Train `model` in place by `recipe` and return what to keep: its averaged copy if `recipe.ema`, else itself.

    `batches` gives one epoch at each iteration. `after_epoch` gets each epoch, from 0, and what would be kept if it
    were the last; it may leave it in evaluation mode, and what it raises ends the training. Dropout and drop-path draw
    from `seed`. The result is in evaluation mode. Refused where the loss stops being finite.
    """
    optimiser = _optimiser(model, recipe)
    steps = len(batches)
    schedule = _schedule(optimiser, recipe, steps)
    averaged = None
    if recipe.ema is not None:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    device = next(model.parameters()).device
    kept = model if averaged is None else averaged.module
    with seeded(derived(seed, "fit")):
        for epoch in range(recipe.epochs):
            model.train()
            set_drop_path(model, recipe.drop_path * epoch / recipe.epochs)
            losses, right, seen = [], torch.zeros((), device=device), 0
            for step, (x, y) in enumerate(batches):
                lr = optimiser.param_groups[0]["lr"]
                optimiser.zero_grad(set_to_none=True)
                with autocast(device, recipe.precision):
                    output = model(x)
                scores, loss = _loss(output, y, recipe)
                check_finite(loss, epoch, step, lr, "retrain")
                loss.backward()
                if recipe.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
                optimiser.step()
                schedule.step()
                if averaged is not None:
                    averaged.update_parameters(model)
                losses.append(loss.detach())
                right += (scores.detach().argmax(1) == y).sum()
                seen += len(y)
                watch.step()
            loss_mean = epoch_loss(losses, epoch, lr, "retrain")
            watch.epoch(epoch, {"loss": loss_mean, "accuracy": 100 * float(right) / seen, "lr": lr})
            after_epoch(epoch, kept)
    return kept.eval()


def _loss(output: Tensor | tuple[Tensor, Tensor], y: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Class scores and the loss; a network with a second classifier returns both scores while training."""
    scores, second = output if isinstance(output, tuple) else (output, None)
    loss = F.cross_entropy(scores.float(), y, label_smoothing=recipe.label_smoothing)
    if second is not None:
        loss = loss + recipe.auxiliary * F.cross_entropy(second.float(), y, label_smoothing=recipe.label_smoothing)
    return scores, loss


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    return sgd(
        model.parameters(),
        recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def _schedule(optimiser: torch.optim.Optimizer, recipe: Recipe, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up, then a cosine to `lr_min`, both counted in steps."""
    warmup, total = recipe.warmup_epochs * steps, recipe.epochs * steps
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, total - warmup), recipe.lr_min)
    if not warmup:
        return cosine
    rise = torch.optim.lr_scheduler.LinearLR(optimiser, 1 / (warmup + 1), 1.0, warmup)
    return torch.optim.lr_scheduler.SequentialLR(optimiser, [rise, cosine], [warmup])
