"""Image classification, which most tests train for and judge by."""

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from winnow.core.space import Space
from winnow.search.gradients import Objective
from winnow.search.objective import objective
from winnow.tasks.classify import IMAGES
from winnow.train.evaluate import Batch, measured


def cross_entropy(space: Space, precision: str = "fp32") -> Objective:
    """The mean cross-entropy in nats of a batch under a setting."""
    return objective(space, nn.CrossEntropyLoss(), precision)


def accuracy_and_loss(predict: Callable[[Tensor], Tensor], batches: Iterable[Batch]) -> tuple[float, float]:
    """Accuracy in percent and mean cross-entropy in nats over all rows."""
    found = measured(IMAGES, predict, batches)
    return found["accuracy"], found["loss"]
