"""Terms added to the validation loss for the logits step, and what may become of the loss of the weights step."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from winnow.core.space import Space
from winnow.search.relax import Relax

Penalty = Callable[[Mapping[str, Tensor]], Tensor]


def beta_decay(space: Space, strength: float) -> Penalty:
    """strength x the mean over edges of logsumexp(logits), summed over cell types: it decays the largest weights most.

    Its gradient is strength x softmax(logits) / edges; its value has no lower bound and says nothing.
    Source: Ye et al. 2022, arXiv:2203.01665, public code.
    """

    def penalty(logits: Mapping[str, Tensor]) -> Tensor:
        types: dict[str, list[Tensor]] = {}
        for name, vector in logits.items():
            types.setdefault(space.decisions[name].group, []).append(vector.logsumexp(0))
        total: Any = sum(torch.stack(sums).mean() for sums in types.values())
        return strength * total

    return penalty


def expected_cost(relax: Relax, costs: Mapping[str, Tensor], strength: float, budget: float = 0.0) -> Penalty:
    """strength x what the weights of `relax` cost above `budget`; `costs[name]` (options,) are shares of a whole."""

    def penalty(logits: Mapping[str, Tensor]) -> Tensor:
        relaxed: Mapping[str, Any] = relax(logits)
        spent: Any = sum((costs[name] * weights).sum() for name, weights in relaxed.items() if name in costs)
        return strength * (spent - budget).relu()

    return penalty


def flooding(level: float) -> Callable[[Tensor], Tensor]:
    """|loss - level| + level: ordinary descent above `level`, ascent below (Ishida et al. 2020); 0 changes nothing."""
    return lambda loss: (loss - level).abs() + level
