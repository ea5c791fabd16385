"""The one loop that trains: a supernet as a mixture or by paths, and a child from scratch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from winnow.data.loaders import Cursor
from winnow.train import ranks
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch
from winnow.train.watch import Watch, check_finite

Step = Callable[[Batch], Tensor | None]  # runs the backward passes of a batch; returns the loss to show
Told = tuple[Mapping[str, float], Mapping[str, Tensor] | None]  # the metrics of an epoch and, of a mixture, its weights


def nothing(*_: Any) -> None:
    """What happens at an occasion where nothing does."""


def loop(
    model: nn.Module,
    batches: Iterable[Batch],
    lesson: Callable[[int], Step],
    optimiser: torch.optim.Optimizer,
    *,
    epochs: int,
    section: str,
    told: Callable[[int, Sequence[Tensor], float], Told],
    clip: float | None = None,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
    every: Literal["step", "epoch"] = "step",
    begin: Callable[[int], None] = nothing,
    stepped: Callable[[], None] = nothing,
    after: Callable[[int], None] = nothing,
    watch: Watch | None = None,
    keeper: Keeper | None = None,
    kept: Mapping[str, Any] = {},
    until: int | None = None,
) -> None:
    """`epochs` passes over `batches` by the steps of `lesson`; ends early where `watch` asks for it.

    `lesson(epoch)` gives the step of an epoch. It is asked when that begins and again when a run goes on in it, so it
    counts nothing; `begin(epoch)` comes before it, once. A step that returns None has left the weights alone: they
    rest, and so does a `schedule`, which steps `every` step or epoch. Gradients of `model` are clipped together to norm
    `clip`. `stepped()` comes after each step of the weights, `after(epoch)` when `watch` has been told what
    `told(epoch, losses, rate)` says, `rate` being that of the epoch's last step. Where several processes train
    (`ranks`), gradients and losses are their means. Checkpoints hold all that is here, and `kept`. With `until`, it
    leaves off before that epoch, with a checkpoint to go on from. Refused where a loss stops being finite, naming
    `section` of params.yaml.
    """
    watch, keeper, cursor = watch or Watch(), keeper or Keeper(), Cursor(batches)
    losses: list[Tensor] = []
    rate: dict[str, float] = {}  # of the last step: one that is left after it has stepped the schedule already
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    statistics = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    state = {"model": model, "optimiser": optimiser, "schedule": schedule, "watch": watch, **kept}
    for epoch in keeper.rounds(epochs, "epoch", **state, batches=cursor, losses=losses, rate=rate):
        if epoch == until:
            keeper.keep()
            break
        model.train()
        if not cursor.taken:
            begin(epoch)
        step = lesson(epoch)
        for batch in cursor.epoch():
            rate["lr"] = optimiser.param_groups[0]["lr"]
            optimiser.zero_grad()
            loss = step(batch)
            if loss is not None:
                (loss,) = ranks.meet(weights, loss)
                ranks.alike(statistics)
                check_finite(loss, epoch, cursor.taken - 1, rate["lr"], section)
                if clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), clip)
                optimiser.step()
                if schedule is not None and every == "step":
                    schedule.step()
                stepped()
                losses.append(loss.detach())
            watch.step()
            keeper.due()
        stop = watch.epoch(epoch, *told(epoch, losses, rate["lr"]))
        if schedule is not None and every == "epoch" and losses:
            schedule.step()
        losses.clear()
        after(epoch)
        if stop:
            break
