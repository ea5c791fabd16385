"""Training a supernet one path at a time."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
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


TRIES = 500  # paths drawn for one of a bin; then the next one is taken, whatever it costs, as in the authors' code


def binned_paths(
    space: Space, rng: random.Random, cost: Callable[[Architecture], float], low: float, high: float, bins: int
) -> Callable[[], Architecture]:
    """At each call a bin of costs, each as likely, and a uniform architecture that lies in it, ends included.

    The bins part [low, high] evenly. Refused where no architecture of a thousand lies between. Source: Guo et al. 2020,
    section 3.3, and public code.
    """
    plain, width = uniform_paths(space, rng), (high - low) / bins
    look = uniform_paths(space, random.Random(0))
    if not any(low <= cost(look()) <= high for _ in range(2 * TRIES)):
        seen = [cost(look()) for _ in range(TRIES)]
        raise Refused(
            f"balanced takes costs that paths have: none of {2 * TRIES:,} lies between {low:,.0f} and {high:,.0f}; "
            f"of random ones here most cost {min(seen):,.0f} to {max(seen):,.0f} macs"
        )

    def path() -> Architecture:
        least = low + rng.randrange(bins) * width
        for _ in range(TRIES):
            arch = plain()
            if least <= cost(arch) <= least + width:
                return arch
        return plain()

    return path


def uniform_paths(space: Space, rng: random.Random) -> Callable[[], Architecture]:
    """A fresh uniform architecture at each call (Guo et al. 2020, section 3.3), none that computes nothing."""

    def path() -> Architecture:
        while space.canonical(arch := space.decide(lambda d: rng.choice(d.values))) is None:
            pass
        return arch

    return path
