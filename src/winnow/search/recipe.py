"""How a supernet is trained, as plain data."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from winnow.train.optimisers import descent


@dataclass(frozen=True)
class Recipe:
    """The outer loop of a search; its defaults are those of the published DARTS (Liu et al. 2019, CIFAR-10)."""

    epochs: int = 50
    lr: float = 0.025  # of the weights; where the schedule begins
    lr_min: float = 0.001  # where it ends
    momentum: float = 0.9  # of SGD
    weight_decay: float = 3e-4
    clip: float | None = 5.0  # largest gradient norm
    logits_lr: float = 3e-4  # of Adam, where there are logits
    logits_weight_decay: float = 1e-3
    optimiser: str = "sgd"  # of the weights; or "adam", "adamw"
    nesterov: bool = False  # of SGD
    schedule: str | None = None  # "cosine" or "linear"; None: that of the strategy, which says how often it steps

    def descent(self, weights: Iterable[nn.Parameter] | Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser of `weights`, or of groups of them."""
        return descent(
            self.optimiser,
            weights,
            self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )
