"""Who of several paths teaches another, and how much it counts (Peng et al. 2020, arXiv:2010.15821)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.space import Space
from winnow.train.optimisers import SGD
from winnow.train.seeds import seeded


class Matching:
    """A linear layer that says of each entry how well it would teach a path, from how their answers differ.

    It takes `size` numbers: answers of the path less the entry's own, on the rows that the entry holds. Its rate is
    `lr`. Weights begin uniform in [-1, 1], as the authors' do.
    """

    def __init__(self, size: int, lr: float, seed: int, device: torch.device):
        with seeded(seed):
            self.layer = nn.Linear(size, 1)
            nn.init.uniform_(self.layer.weight, -1.0, 1.0)
            nn.init.zeros_(self.layer.bias)
        self.layer.to(device)
        self.lr = lr
        self.optimiser = SGD(self.layer.parameters(), lr=lr, momentum=0.9, nesterov=True)

    @property
    def parts(self) -> Mapping[str, Any]:
        """What a keeper keeps of it."""
        return {"matching": self.layer, "matching_optimiser": self.optimiser}

    def weight(self, differences: Tensor) -> Tensor:
        """Of what a teacher says, between 0 and 1: (), with gradients to the layer."""
        return self.layer(differences).sigmoid().squeeze()

    def learn(self, differences: Tensor, slope: Tensor, share: float) -> None:
        """A step against `slope`, the derivative of what counts by the weight; `share` is of the first rate."""
        self.optimiser.param_groups[0]["lr"] = self.lr * share
        self.optimiser.zero_grad()
        (slope.detach() * self.weight(differences)).backward()
        nn.utils.clip_grad_norm_(self.layer.parameters(), 1.0)
        self.optimiser.step()


def virtual_slope(space: Space, taught: Tensor, weight: float, rate: float, judged: Callable[[], Tensor]) -> Tensor:
    """How `judged()` changes with the weight of `taught`, a loss, in a step of `rate` along its gradient: ().

    The weights w become w - rate * weight * g, g the gradient of `taught`; the chain rule leaves -rate times the
    product of g with the gradient of `judged` there. Exact, as the weight is one number: nothing is differentiated
    twice. The weights are as before afterwards, to the bit, and no gradient is left on them.
    """
    weights = [p for p in space.parameters() if p.requires_grad]
    along = torch.autograd.grad(taught, weights, allow_unused=True)
    moved = [(p, g, p.detach().clone()) for p, g in zip(weights, along, strict=True) if g is not None]
    try:
        with torch.no_grad():
            for p, g, _ in moved:
                p.sub_(rate * weight * g)
        there = torch.autograd.grad(judged(), [p for p, *_ in moved], allow_unused=True)
    finally:
        with torch.no_grad():
            for p, _, before in moved:
                p.copy_(before)
    products = [(g * h).sum() for (_, g, _), h in zip(moved, there, strict=True) if h is not None]
    return -rate * torch.stack(products).sum()
