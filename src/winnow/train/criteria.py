"""The loss that a network is trained for, as its task and its recipe have it."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.holes.ensemble import Members, counting
from winnow.tasks.task import Task
from winnow.train.recipes import Recipe


def criterion_of(task: Task, facts: Mapping[str, Any], seed: int, recipe: Recipe | None = None) -> nn.Module:
    """With the options of `recipe`, label smoothing among them. Refused where the task knows none."""
    options = {} if recipe is None else dict(recipe.loss)
    smoothing = 0.0 if recipe is None else recipe.label_smoothing
    if not smoothing:
        return task.criterion(facts, seed, **options)
    if "smoothing" not in inspect.signature(task.criterion).parameters:
        raise Refused(f"the loss of task {task.name} takes no label smoothing: set retrain.label_smoothing to 0")
    return task.criterion(facts, seed, **options | {"smoothing": smoothing})


def outputs_and_loss(output: Any, y: Tensor, criterion: nn.Module, auxiliary: float = 1.0) -> tuple[Tensor, Tensor]:
    """The output that counts, and the loss in float32 of it and, `auxiliary` times, of each other one.

    A network with a second classifier returns a tuple while it is trained. Members of an ensemble all learn alike: the
    loss is the sum of theirs, whatever `auxiliary` is.
    """
    first, *others = output if isinstance(output, tuple) else (output,)
    loss = criterion(first.float(), y)
    for other in others:
        share = 1.0 if isinstance(output, Members) else auxiliary
        loss = loss + share * criterion(other.float(), y)
    return counting(output), loss
