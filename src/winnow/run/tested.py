"""What networks answer on the test images: accuracy, errors by class, calibration."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from winnow.data.loaders import Batches, Split
from winnow.tasks.calibration import reliability as calibration


@torch.no_grad()
def probabilities(model: nn.Module, split: Split, batch: int) -> Tensor:
    """Class probabilities (images, classes) in float32 on the CPU, in the split's order."""
    batches = Batches(split, batch, generator=torch.Generator(), shuffle=False, drop_last=False, channels_last=True)
    return torch.cat([model(x).float().softmax(1).cpu() for x, _ in batches])


def right(chances: Tensor, split: Split) -> Tensor:
    """Which images (images,) are told rightly, as a truth each."""
    return chances.argmax(1) == split.answers.cpu()


def percent(answers: Tensor) -> float:
    return 100 * float(answers.double().mean())


def per_class(chances: Sequence[Tensor], test: Split) -> list[float | None]:
    """Accuracy of each class, mean over the models; None where the split has no image of it."""
    labels = test.answers.cpu()
    answers = torch.stack([right(p, test) for p in chances]).double()
    return [
        100 * float(answers[:, labels == i].mean()) if (labels == i).any() else None
        for i in range(len(test.facts["classes"]))
    ]


def reliability(chances: Sequence[Tensor], test: Split) -> tuple[float, list[dict[str, float]]]:
    """Calibration error in points over all predictions of the models, and its bins."""
    confidence = torch.cat([p.max(1).values for p in chances])
    return calibration(confidence, torch.cat([right(p, test) for p in chances]))


def confusion(chances: Sequence[Tensor], test: Split) -> list[dict[str, Any]]:
    """Counts over all models, one row a pair of true and predicted class."""
    size, labels = len(test.facts["classes"]), test.answers.cpu()
    counts = sum(torch.bincount(labels * size + p.argmax(1), minlength=size * size) for p in chances).view(size, size)
    return [
        {"actual": test.facts["classes"][i], "predicted": test.facts["classes"][j], "count": int(counts[i, j])}
        for i in range(size)
        for j in range(size)
    ]
