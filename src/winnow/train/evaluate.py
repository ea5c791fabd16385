"""What a task measures over batches, and BatchNorm statistics that fit an inherited child."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from winnow.data.loaders import Split, in_order
from winnow.tasks.task import Task

BatchNorm = nn.modules.batchnorm._BatchNorm
Batch = tuple[Any, Tensor]  # what a network is given, and what it is to tell (batch, ...)


@torch.no_grad()
def measured(task: Task, predict: Callable[[Any], Tensor], batches: Iterable[Batch]) -> dict[str, float]:
    """The metrics of `task` of what `predict(x)` answers, over all of `batches`."""
    outputs, answers = [], []
    for x, y in batches:
        outputs.append(predict(x).float())
        answers.append(y)
    return task.measure(outputs, answers)


class BatchStatistics:
    """The BatchNorms of a model, which can be told to go by their batch for a while."""

    def __init__(self, model: nn.Module):
        self.norms = [vars(m) for m in every_module(model) if isinstance(m, BatchNorm)]  # Module.__setattr__ is slow

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        """Inside, each normalises with its batch and leaves its running statistics alone."""
        before = [(m["training"], m["track_running_stats"]) for m in self.norms]
        try:
            for m in self.norms:
                m.update(training=True, track_running_stats=False)
            yield
        finally:
            for m, (training, tracking) in zip(self.norms, before, strict=True):
                m.update(training=training, track_running_stats=tracking)


def batch_statistics(model: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Inside, every BatchNorm normalises with its batch and leaves its running statistics alone."""
    return BatchStatistics(model)()


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Batch]) -> nn.Module:
    """Replace BatchNorm running statistics by the plain average over `batches`; the model ends in evaluation mode.

    An inherited child is worth nothing without it: its statistics are those of a mixture or of other paths
    (Guo et al. 2020, section 3.4). Weights stay as they are; dropout is off.
    """
    model.eval()
    norms = [m for m in every_module(model) if isinstance(m, BatchNorm)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.training = True
    try:
        for number, (x, _) in enumerate(batches, 1):
            for m in norms:
                m.momentum = (
                    1 / number
                )  # a running mean; None would do the same, but waits for the device in every layer
            model(x)
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
    return model.eval()


def calibrated(model: nn.Module, split: Split, rows: int, batch: int) -> nn.Module:
    """The same over the first `rows` of `split`, or all of them, in order, `batch` at a time."""
    rows = min(rows, len(split))
    batch = min(batch, rows)
    return calibrate(model, itertools.islice(in_order(split, batch), math.ceil(rows / batch)))


def every_module(model: nn.Module) -> list[nn.Module]:
    """What `model.modules()` gives, in another order and without making up names: loops ask for it at every step."""
    found: dict[nn.Module, None] = {}
    queue = [model]
    while queue:
        module = queue.pop()
        if module not in found:
            found[module] = None
            queue += [child for child in module._modules.values() if child is not None]
    return list(found)
