"""Several networks that share a beginning and answer together."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Members(tuple[Tensor, ...]):
    """What each member of an ensemble says, while it is trained: each learns for itself, and their mean counts."""

    __slots__ = ()


def counting(output: Any) -> Tensor:
    """The output that counts: the mean of members, the first of a tuple, or the one there is."""
    if isinstance(output, Members):
        return together(output)
    first: Tensor = output[0] if isinstance(output, tuple | list) else output
    return first


def together(outputs: Sequence[Tensor]) -> Tensor:
    return outputs[0] if len(outputs) == 1 else torch.stack(tuple(outputs)).mean(0)


def branched(x: Tensor, branches: Iterable[nn.Module], training: bool) -> Tensor | Members:
    """`x`, what the shared beginning made, through each of `branches`: `Members` in training, else their mean.

    The gradient that reaches the beginning is the mean of theirs and not the sum, as in the public code of NEAS (Chen
    et al. 2021): with it the beginning would learn as many times faster as there are members.
    """
    branches = tuple(branches)
    if training and x.requires_grad and len(branches) > 1:
        x.register_hook(lambda gradient: gradient / len(branches))
    outputs = [branch(x) for branch in branches]
    return Members(outputs) if training else together(outputs)


class Ensemble(nn.Module):
    """A shared `trunk` and the `branches` that go on from it."""

    def __init__(self, trunk: nn.Module, branches: Iterable[nn.Module]):
        super().__init__()
        self.trunk, self.branches = trunk, nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor | Members:
        return branched(self.trunk(x), self.branches, self.training)
