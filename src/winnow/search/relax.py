"""Logits and their relaxation to mixture weights."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from winnow.core.space import Space


class Logits(nn.ParameterDict):
    """One vector (options,) per decision that takes a single option; they live beside the network.

    Starts as scale x N(0, 1) from `generator`, in the order of the decisions (Liu et al. 2019, public code: 1e-3).
    """

    def __init__(self, space: Space, generator: torch.Generator, scale: float = 1e-3):
        start = {
            d.name: nn.Parameter(scale * torch.randn(len(d.options), generator=generator))
            for d in space.decisions.values()
            if d.pick == 1
        }
        super().__init__(start)


def softmax(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mixture weights (options,) per decision: positive, summing to one."""
    return {name: vector.softmax(0) for name, vector in logits.items()}
