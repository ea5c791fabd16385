"""Spaces and batches small enough to check by hand or against plain autograd."""

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.holes import Choice, Setting
from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.search.relax import Logits
from winnow.spaces import build
from winnow.train.evaluate import Batch
from winnow.train.watch import Watch

CLASSES = 3
NSE = ("lb3_t1", "lb5_t1", "lb3_t3", "rec5_t1")


def smooth(width: int = 4, seed: int = 0, *, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> Space:
    """Two decisions between smooth candidates, with BatchNorm; x is (batch, 2)."""

    def candidates() -> dict[str, nn.Module]:
        return {
            "tanh": nn.Sequential(nn.Linear(width, width), nn.Tanh()),
            "norm": nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width)),
            "skip": nn.Identity(),
        }

    layers = [
        nn.Linear(2, width),
        nn.Tanh(),
        Choice("a", candidates()),
        nn.Dropout(dropout),
        Choice("b", candidates()),
        nn.Linear(width, CLASSES),
    ]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        space = Space(nn.Sequential(*layers)).to(dtype)
        for parameter in space.parameters():
            nn.init.normal_(parameter, std=0.5)
    return space


def points(count: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Batch:
    """A batch for `smooth`."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randint(CLASSES, (count,), generator=generator)


def images(count: int, seed: int = 0, side: int = 8) -> Batch:
    """A batch of one-channel noise with labels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, side, side, generator=generator), torch.randint(CLASSES, (count,), generator=generator)


def cells(name: str = "nas_bench_201", seed: int = 0, **options: object) -> Space:
    """A published space, as small as it goes, for `images`."""
    sizes = {
        "nas_bench_101": {"channels": 4, "cells": 1},
        "nas_bench_201": {"channels": 4, "cells": 1},
        "darts": {"channels": 4, "layers": 3},
        "factorised": {"channels": 4, "layers": 3},
        "mobile": {"width": 0.1},
        "cream": {"width": 0.25, "layers": (1, 1, 1, 1, 1)},
        "multibranch": {"operations": NSE, "cells": (1, 0, 0, 0, 0, 0, 0), "width": 0.25},
        "ofa": {"width": 0.25, "kernels": (3, 5), "ratios": (2, 3), "depths": (1, 2)},
        "resnet": {"width": 0.0625, "bits": ("w2a2", "w4a4"), "channels": (50, 100), "clip": 2.0},
    }
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return build(name, {**sizes[name], **options}, classes=CLASSES, image_channels=1, image_size=8)


def logits_of(space: Space, scale: float = 0.5, seed: int = 0) -> Logits:
    """Logits in the precision of the space's weights."""
    dtype = next(space.parameters()).dtype
    return Logits(space, torch.Generator().manual_seed(seed), scale).to(dtype)


def loss_of(space: Space) -> Objective:
    """The mean cross-entropy in the space's own precision."""
    return lambda batch, setting: F.cross_entropy(space(batch[0], setting), batch[1])


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(module: nn.Module, before: Mapping[str, Tensor]) -> list[str]:
    """Names of the parameters and buffers that are no longer what they were, to the bit."""
    return [name for name, tensor in module.state_dict().items() if not torch.equal(tensor, before[name])]


def one_hot(decision: Decision, value: Value, dtype: torch.dtype = torch.float32) -> Tensor:
    return F.one_hot(torch.tensor(decision.options.index(value)), len(decision.options)).to(dtype)


def first(space: Space, **answers: Value) -> Architecture:
    """The architecture of first options, but for `answers`."""
    return space.decide(lambda d: answers.get(d.name, d.values[0]))


class Loader:
    """A list of batches as `train` and `valid` are: every iteration starts again, and `given` counts what was taken."""

    def __init__(self, batches: list[Batch]):
        self.batches, self.given = batches, 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            self.given += 1
            yield batch


class Recorded(Watch):
    """Keeps what a loop tells."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []
        self.weights: list[dict[str, Tensor]] = []
        self.steps = 0

    def step(self, steps: int = 1) -> None:
        self.steps += steps

    def epoch(self, epoch: int, metrics: Mapping[str, float], weights: Mapping[str, Tensor] | None = None) -> None:
        assert epoch == len(self.epochs)
        self.epochs.append(dict(metrics))
        self.weights.append(dict(weights or {}))


def mixed(space: Space, logits: Logits) -> Setting:
    return {name: vector.detach().softmax(0) for name, vector in logits.items()}
