"""How a supernet is trained, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """The outer loop of a search; its defaults are those of the published DARTS (Liu et al. 2019, CIFAR-10)."""

    epochs: int = 50
    lr: float = 0.025  # of the weights; where the schedule begins
    lr_min: float = 0.001  # where it ends
    momentum: float = 0.9
    weight_decay: float = 3e-4
    clip: float = 5.0  # largest gradient norm
    logits_lr: float = 3e-4  # of Adam, where there are logits
    logits_weight_decay: float = 1e-3
