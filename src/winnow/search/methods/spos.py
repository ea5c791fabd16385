"""SPOS: single path one-shot with uniform sampling (Guo et al. 2020, arXiv:1904.00420)."""

from collections.abc import Iterable

import torch

from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.search.paths import train_paths, uniform_paths
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import Batch
from winnow.train.optimisers import sgd
from winnow.train.seeds import rng
from winnow.train.watch import Watch


def spos(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    objective: Objective,
    seed: int,
    watch: Watch,
    epochs: int = 120,
    lr: float = 0.5,
    lr_min: float = 0.0,
    momentum: float = 0.9,
    weight_decay: float = 4e-5,
    clip: float = 5.0,
    keeper: Keeper | None = None,
) -> None:
    """Train one uniform path a batch of `train`; there are no logits and `valid` is left for the selection.

    The learning rate falls linearly, batch by batch, from `lr` to `lr_min`. Weight decay skips vectors (BatchNorm,
    biases), as in the authors' code; the defaults are its ImageNet numbers for batches of 1024, but for `clip`: it
    clips nothing. It also smooths labels by 0.1 (here `objective` decides), balances paths over bins of FLOPs (here
    they are uniform), and draws convolutions from N(0, 1 / input channels per group), depthwise ones with deviation 1.
    """
    decayed = [p for p in space.parameters() if p.dim() > 1]
    rest = [p for p in space.parameters() if p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = sgd([g for g in groups if g["params"]], lr, momentum=momentum)
    steps = epochs * len(train)
    fall = (lr - lr_min) / lr
    draws, keeper = rng(seed, "paths"), keeper or Keeper()
    keeper.add(draws=draws)
    train_paths(
        space,
        train,
        path=uniform_paths(space, draws),
        objective=objective,
        optimiser=optimiser,
        epochs=epochs,
        clip=clip,
        schedule=torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - fall * step / steps),
        watch=watch,
        keeper=keeper,
    )
