"""Training a supernet one path at a time."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.train.evaluate import Batch
from winnow.train.loop import Told, loop
from winnow.train.watch import epoch_loss


def train_paths(
    space: Space,
    train: Iterable[Batch],
    *,
    path: Callable[[], Architecture],
    objective: Objective,
    optimiser: torch.optim.Optimizer,
    **course: Any,
) -> None:
    """`loop` over `train`, with what `course` says; each batch goes through the one architecture that `path()` draws.

    Candidates off the path have no gradient at all (None, not zero), so that neither weight decay nor momentum moves
    them.
    """

    def step(batch: Batch) -> Tensor:
        loss = objective(batch, path())
        loss.backward()
        return loss

    def told(epoch: int, losses: Sequence[Tensor], lr: float) -> Told:
        return {"train_loss": epoch_loss(losses, epoch, lr, "search"), "lr": lr}, None

    loop(space, train, lambda epoch: step, optimiser, section="search", told=told, **course)


def uniform_paths(space: Space, rng: random.Random) -> Callable[[], Architecture]:
    """A fresh uniform architecture at each call (Guo et al. 2020, section 3.3)."""
    return lambda: space.decide(lambda d: rng.choice(d.values))
