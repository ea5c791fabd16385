"""What networks answer on the test rows, and how good that is by the first metric of their task."""

import torch
from torch import Tensor, nn

from winnow.data.loaders import Batches, Split
from winnow.tasks.task import Task


@torch.no_grad()
def outputs(model: nn.Module, split: Split, batch: int) -> Tensor:
    """What `model` returns for each row (rows, ...), in float32 on the CPU, in the split's order."""
    batches = Batches(split, batch, generator=torch.Generator(), shuffle=False, drop_last=False, channels_last=True)
    return torch.cat([model(x).float().cpu() for x, _ in batches])


def counted(task: Task, found: Tensor, split: Split) -> Tensor | None:
    """What each row counts in the first metric (rows,); None where that is no mean over rows."""
    return None if task.each is None else task.each(found, split.answers.cpu())


def score(task: Task, found: Tensor, split: Split) -> float:
    """The first metric of these outputs."""
    each = counted(task, found, split)
    if each is None:
        return task.measure([found], [split.answers.cpu()])[task.metric]
    return task.first.shown(float(each.double().mean()))
