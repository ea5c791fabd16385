"""Accuracy and loss over batches, and BatchNorm statistics that fit an inherited child."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]  # images (batch, channels, height, width), labels (batch,)


@torch.no_grad()
def accuracy_and_loss(predict: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> tuple[float, float]:
    """Top-1 accuracy in percent and mean cross-entropy in nats of `predict(x)`, both over all images."""
    right: Tensor | float = 0.0
    loss: Tensor | float = 0.0
    count = 0
    for x, y in batches:
        scores = predict(x).float()
        right = right + (scores.argmax(1) == y).sum()
        loss = loss + F.cross_entropy(scores, y, reduction="sum").double()
        count += len(y)
    return 100 * float(right) / count, float(loss) / count


@contextlib.contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside, every BatchNorm normalises with its batch and leaves its running statistics alone."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(m.training, m.track_running_stats) for m in norms]
    try:
        for m in norms:
            m.training, m.track_running_stats = True, False
        yield
    finally:
        for m, (training, tracking) in zip(norms, before, strict=True):
            m.training, m.track_running_stats = training, tracking


@torch.no_grad()
def calibrate(model: nn.Module, batches: Iterable[Batch]) -> nn.Module:
    """Replace BatchNorm running statistics by the plain average over `batches`; the model ends in evaluation mode.

    An inherited child is worth nothing without it: its statistics are those of a mixture or of other paths
    (Guo et al. 2020, section 3.4). Weights stay as they are; dropout is off.
    """
    model.eval()
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum, m.training = None, True  # None: cumulative average
    for x, _ in batches:
        model(x)
    for m, momentum in zip(norms, momenta, strict=True):
        m.momentum = momentum
    return model.eval()
