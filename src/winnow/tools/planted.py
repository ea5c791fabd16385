"""Problems whose right answer is known: one candidate sees what matters, the others do not."""

import torch
from torch import nn

from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.train.evaluate import Batch
from winnow.train.seeds import seeded

SEES, BLIND, NOISE = "sees", "blind", "noise"


class Static(nn.Module):
    """Noise of the input's shape: a useless candidate."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.randn_like(x)


class Nothing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


class Halves(nn.Module):
    """Each edge sees two channels of its own; what they make of them is concatenated."""

    def __init__(self, edges: nn.ModuleList):
        super().__init__()
        self.edges = edges

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([edge(half) for edge, half in zip(self.edges, x.chunk(2, 1), strict=True)], 1)


def planted(seed: int = 0) -> Space:
    """Two edges, both needed, each with one useful candidate; x is (batch, 4, 4, 4), four classes."""
    with seeded(seed):
        candidates = [{BLIND: Nothing(), NOISE: Static(), SEES: nn.Conv2d(2, 2, 1)} for _ in range(2)]
        edges = nn.ModuleList(Choice(f"e{i}", c) for i, c in enumerate(candidates))
        return Space(nn.Sequential(Halves(edges), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)))


def batches(count: int = 96, seed: int = 0) -> list[Batch]:
    """Of 24 each: each half of the channels says one of the two bits of the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    bits = torch.stack([y // 2, y // 2, y % 2, y % 2], 1) * 2.0 - 1
    x = torch.randn(count, 4, 4, 4, generator=generator) + 0.7 * bits[:, :, None, None]
    return list(zip(x.split(24), y.split(24), strict=True))
