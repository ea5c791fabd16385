"""What a supernet is trained for."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.space import Space
from winnow.holes.ensemble import counting
from winnow.train.criteria import outputs_and_loss
from winnow.train.evaluate import Batch
from winnow.train.fit import autocast
from winnow.train.recompute import cells, recomputing


@dataclass(frozen=True)
class Learning:
    """The loss of a batch under a setting by `criterion`, and what leads to it; forward passes in `precision`.

    `recompute`: the space keeps no activations of its cells for the backward pass (`train.recompute`).
    Of an output that is a tuple the first counts where networks are held against each other, of an ensemble the mean.
    Losses are refused where the criterion learns: whoever trains a supernet trains the weights of its space.
    """

    space: Space
    criterion: nn.Module
    precision: str = "fp32"  # or "bf16"
    recompute: bool = False

    @cached_property
    def cells(self) -> list[nn.Module]:
        """What is computed twice. Refused where nothing would be saved."""
        return cells(self.space) if self.recompute else []

    def said(self, x: Any, network: Callable[[Any], Any]) -> Any:
        """What a network returns for inputs."""
        with autocast(x.device, self.precision), recomputing(self.space, self.cells):
            return network(x)

    def _through(self, x: Any, setting: Setting) -> Any:
        """What the space returns. Refused where it calls none of the modules that it is to compute twice."""
        with autocast(x.device, self.precision), recomputing(self.space, self.cells) as called:
            output = self.space(x, setting)
        if self.cells and torch.is_grad_enabled() and not called:
            kinds = ", ".join(sorted({type(part).__name__ for part in self.cells}))
            raise Refused(
                f"search.recompute: the network calls none of the modules that hold its decisions ({kinds}), so they "
                "cannot be computed again: set it to false, or call them"
            )
        return output

    def whole_and_loss(self, batch: Batch, setting: Setting) -> tuple[Any, Tensor]:
        """All that the space returns, and the loss of it."""
        x, y = batch
        output = self._through(x, setting)
        return output, outputs_and_loss(output, y, self.fixed())[1]

    def first_and_loss(self, batch: Batch, setting: Setting) -> tuple[Tensor, Tensor]:
        """The output that counts, in float32, and the loss of all."""
        x, y = batch
        first, loss = outputs_and_loss(self._through(x, setting), y, self.fixed())
        return first.float(), loss

    def __call__(self, batch: Batch, setting: Setting) -> Tensor:
        return self.first_and_loss(batch, setting)[1]

    def each(self, batch: Batch, setting: Setting) -> Tensor:
        """(batch,): the loss of each row, whose mean is that of the batch.

        Refused where the criterion knows the mean alone.
        """
        if getattr(self.fixed(), "reduction", None) != "mean":
            kind = type(self.criterion).__name__
            raise Refused(f"{kind} tells the loss of a batch and not of each row (`reduction`), which the search asks")
        by_row: Any = copy.copy(self.criterion)
        by_row.reduction = "none"
        x, y = batch
        loss = outputs_and_loss(self._through(x, setting), y, by_row)[1]
        return loss.flatten(1).mean(1) if loss.dim() > 1 else loss

    def fixed(self) -> nn.Module:
        """The criterion. Refused where it has weights of its own."""
        if any(True for _ in self.criterion.parameters()):
            kind = type(self.criterion).__name__
            raise Refused(
                f"{kind} has weights of its own, which a supernet does not train: search with strategy trials"
            )
        return self.criterion

    def first(self, x: Any, network: Callable[[Any], Any]) -> Tensor:
        """The output of a network that counts, in float32."""
        return counting(self.said(x, network)).float()


def objective(space: Space, criterion: nn.Module, precision: str = "fp32", recompute: bool = False) -> Learning:
    """The loss of a batch under a setting by `criterion`; forward passes in `precision` ("fp32" or "bf16").

    With `recompute`, cells are computed twice, and their activations not kept. Refused where nothing would be saved.
    """
    learning = Learning(space, criterion, precision, recompute)
    assert learning.cells or not recompute
    return learning
