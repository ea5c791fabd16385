"""How a learning rate falls, after a rise if there is one."""

from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, LRScheduler, SequentialLR


def falling(
    optimiser: torch.optim.Optimizer,
    kind: str,
    total: int,
    lr_min: float,
    *,
    warmup: int = 0,
    decay: float = 1.0,
    every: int = 1,
) -> LRScheduler:
    """The rate of `optimiser` rises in a line for `warmup` steps, then falls to `lr_min` until step `total`.

    `kind` is "cosine", "linear", or "steps": times `decay` after each `every` steps, never below `lr_min`. A step is
    what the caller counts, a batch or an epoch.
    """
    left, lr = max(1, total - warmup), optimiser.param_groups[0]["lr"]
    down = (lr - lr_min) / lr
    falls: dict[str, Callable[[], LRScheduler]] = {
        "cosine": lambda: CosineAnnealingLR(optimiser, left, lr_min),
        "linear": lambda: LambdaLR(optimiser, lambda step: 1 - down * min(step, left) / left),
        "steps": lambda: LambdaLR(optimiser, lambda step: max(1 - down, decay ** (step // every))),
    }
    fall = falls[kind]()
    if not warmup:
        return fall
    rise = LinearLR(optimiser, 1 / (warmup + 1), 1.0, warmup)
    return SequentialLR(optimiser, [rise, fall], [warmup])
