"""Training a supernet one path at a time."""

import random
from collections.abc import Callable, Iterable

import torch

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.data.loaders import Cursor
from winnow.search.gradients import Objective
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch
from winnow.train.watch import Watch, check_finite, epoch_loss


def train_paths(
    space: Space,
    train: Iterable[Batch],
    *,
    path: Callable[[], Architecture],
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    epochs: int,
    clip: float,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    watch: Watch | None = None,
    keeper: Keeper | None = None,
) -> None:
    """`epochs` passes over `train`; each batch goes through the one architecture that `path()` draws.

    Candidates off the path have no gradient at all (None, not zero), so that neither weight decay nor momentum moves
    them. `schedule` steps once a batch. Refused where the loss stops being finite.
    """
    watch, keeper = watch or Watch(), keeper or Keeper()
    space.train()
    batches, losses, rate = Cursor(train), [], {}
    kept = {"space": space, "optimiser": optimiser, "schedule": schedule, "watch": watch}
    for epoch in keeper.rounds(epochs, "epoch", **kept, batches=batches, losses=losses, rate=rate):
        for batch in batches.epoch():
            rate["lr"] = lr = optimiser.param_groups[0]["lr"]
            optimiser.zero_grad(set_to_none=True)
            loss = objective(batch, path())
            check_finite(loss, epoch, batches.taken - 1, lr, "search")
            loss.backward()
            torch.nn.utils.clip_grad_norm_(space.parameters(), clip)
            optimiser.step()
            schedule.step()
            losses.append(loss.detach())
            watch.step()
            keeper.due()
        watch.epoch(epoch, {"train_loss": epoch_loss(losses, epoch, rate["lr"], "search"), **rate})
        losses.clear()


def uniform_paths(space: Space, rng: random.Random) -> Callable[[], Architecture]:
    """A fresh uniform architecture at each call (Guo et al. 2020, section 3.3)."""
    return lambda: space.decide(lambda d: rng.choice(d.values))
