"""Retraining recipes: what is trained how, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a child is trained, apart from what it begins with, the data and the seed."""

    epochs: int
    batch: int
    optimiser: str  # "sgd" or "adamw"
    lr: float  # the highest: after warm-up
    lr_min: float  # where the schedule ends, or its lowest
    momentum: float  # SGD only
    nesterov: bool  # SGD only
    weight_decay: float
    warmup_epochs: int  # linear from nearly nothing to `lr`
    clip: float | None  # largest gradient norm
    label_smoothing: float
    drop_path: float  # reached linearly over the epochs
    cutout: int  # side of the square in pixels
    auxiliary: float  # weight of the second classifier's loss (DARTS space); 0: no second classifier
    ema: float | None  # decay of the averaged weights that are kept instead of the last ones
    precision: str  # "fp32", or "bf16": autocast
    schedule: str = "cosine"  # or "linear", batch by batch; or "steps": times `decay` after every epoch
    decay: float = 1.0  # schedule "steps" only
    loss: Mapping[str, Any] = field(default_factory=dict)  # options of the task's own

    @property
    def needs_auxiliary(self) -> bool:
        return self.auxiliary > 0


ALGORITHMS = ("average", "proximal", "cyclic", "share")


@dataclass(frozen=True)
class Federation:
    """How clients train together. A visit is `local_steps` batches, or `local_epochs` passes over a client's rows."""

    algorithm: str = "average"
    rounds: int = 10
    local_epochs: int = 1
    local_steps: int | None = None
    participation: float = 1.0  # the share of clients that is drawn for a round
    drop_out: float = 0.0  # the chance that a drawn one does not come back; one always does
    mu: float = 0.01  # of `proximal`: mu / 2 * |w - w_global|^2 is added to the loss
    average_buffers: bool = True  # BatchNorm's statistics; False: each client keeps its own, averaged at the end alone

    @property
    def cyclic(self) -> bool:
        return self.algorithm == "cyclic"


RECIPES = {
    # small images, minutes on a CPU: ours, tuned to nothing but running time
    "quick": Recipe(
        epochs=20, batch=64, optimiser="sgd", lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=5e-4,
        warmup_epochs=1, clip=5.0, label_smoothing=0.0, drop_path=0.0, cutout=0, auxiliary=0.0, ema=None,
        precision="fp32",
    ),
    # the same for weights that are trained already (retrain.from inherited, space.weights): short and gentle, ours too
    "finetune": Recipe(
        epochs=10, batch=64, optimiser="sgd", lr=0.01, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=5e-4,
        warmup_epochs=0, clip=5.0, label_smoothing=0.0, drop_path=0.0, cutout=0, auxiliary=0.0, ema=None,
        precision="fp32",
    ),
    # Dong & Yang 2020, the 200-epoch training behind the benchmark's numbers
    "nas_bench_201": Recipe(
        epochs=200, batch=256, optimiser="sgd", lr=0.1, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=5e-4,
        warmup_epochs=0, clip=None, label_smoothing=0.0, drop_path=0.0, cutout=0, auxiliary=0.0, ema=None,
        precision="fp32",
    ),
    # Liu et al. 2019, CIFAR-10: 20 layers of 36 channels. S1 to S4 on CIFAR-100 and SVHN: the same, 8 layers of 16
    # channels (Wang et al. 2021, public code)
    "darts_cifar10": Recipe(
        epochs=600, batch=96, optimiser="sgd", lr=0.025, lr_min=0.0, momentum=0.9, nesterov=False, weight_decay=3e-4,
        warmup_epochs=0, clip=5.0, label_smoothing=0.0, drop_path=0.2, cutout=16, auxiliary=0.4, ema=None,
        precision="fp32",
    ),
    # Liu et al. 2019, ImageNet: 14 layers of 48 channels, stem imagenet; their random crops and colours are not here
    "darts_imagenet": Recipe(
        epochs=250, batch=128, optimiser="sgd", lr=0.1, lr_min=0.0, momentum=0.9, nesterov=False, weight_decay=3e-5,
        warmup_epochs=0, clip=5.0, label_smoothing=0.1, drop_path=0.0, cutout=0, auxiliary=0.4, ema=None,
        precision="fp32", schedule="steps", decay=0.97,
    ),
    # the same networks in larger batches (SGAS, Li et al. 2020; PC-DARTS, Xu et al. 2020); their line goes by epochs
    # and is flatter in the last five
    "sgas_imagenet": Recipe(
        epochs=250, batch=1024, optimiser="sgd", lr=0.5, lr_min=0.0, momentum=0.9, nesterov=False, weight_decay=3e-5,
        warmup_epochs=5, clip=5.0, label_smoothing=0.1, drop_path=0.0, cutout=0, auxiliary=0.4, ema=None,
        precision="fp32", schedule="linear",
    ),
    # Dong & Yang 2019 (SETN), CIFAR: 20 layers of 36 channels
    "setn_cifar": Recipe(
        epochs=300, batch=96, optimiser="sgd", lr=0.025, lr_min=0.0, momentum=0.9, nesterov=True, weight_decay=5e-4,
        warmup_epochs=5, clip=5.0, label_smoothing=0.0, drop_path=0.2, cutout=16, auxiliary=0.4, ema=None,
        precision="fp32",
    ),
    # Vahdat et al. 2020 (UNAS), CIFAR: 20 layers of 36 channels; CIFAR-100 with drop_path 0.3
    "unas_cifar": Recipe(
        epochs=600, batch=128, optimiser="sgd", lr=0.05, lr_min=0.0, momentum=0.9, nesterov=False, weight_decay=3e-4,
        warmup_epochs=30, clip=5.0, label_smoothing=0.0, drop_path=0.2, cutout=16, auxiliary=0.4, ema=None,
        precision="fp32",
    ),
    # Guo et al. 2020, ImageNet; their decay spares vectors, and BatchNorm is averaged anew at the end
    "spos_imagenet": Recipe(
        epochs=240, batch=1024, optimiser="sgd", lr=0.5, lr_min=0.0, momentum=0.9, nesterov=False, weight_decay=4e-5,
        warmup_epochs=0, clip=None, label_smoothing=0.1, drop_path=0.0, cutout=0, auxiliary=0.0, ema=None,
        precision="fp32", schedule="linear",
    ),
}  # fmt: skip
