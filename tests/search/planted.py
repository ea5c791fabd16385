"""Searches whose right answer is known: one candidate sees the image, the others do not."""

import torch
from torch import nn

from tests.judging import cross_entropy
from tests.search.toys import Loader, Recorded
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.recipe import Recipe
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
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        candidates = [{BLIND: Nothing(), NOISE: Static(), SEES: nn.Conv2d(2, 2, 1)} for _ in range(2)]
        edges = nn.ModuleList(Choice(f"e{i}", c) for i, c in enumerate(candidates))
        return Space(nn.Sequential(Halves(edges), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)))


def data(count: int = 96, seed: int = 0) -> Loader:
    """Batches of 24: each half of the channels says one of the two bits of the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(count) % 4
    bits = torch.stack([y // 2, y // 2, y % 2, y % 2], 1) * 2.0 - 1
    x = torch.randn(count, 4, 4, 4, generator=generator) + 0.7 * bits[:, :, None, None]
    return Loader(list(zip(x.split(24), y.split(24), strict=True)))


def bench_of(space: Space, train, valid, *, seed: int = 0, watch=None, **more) -> Bench:
    """A bench for cross-entropy."""
    objective = cross_entropy(space)
    return Bench(space, seed, objective=objective, train=train, valid=valid, watch=watch or Recorded(), **more)


def split_options(options: dict) -> tuple[Recipe, dict]:
    """The recipe and a method's own options."""
    fields = Recipe.__dataclass_fields__
    return Recipe(**{n: v for n, v in options.items() if n in fields}), {
        n: v for n, v in options.items() if n not in fields
    }


def search(method, space: Space | None = None, *, seed: int = 0, watch=None, **options):
    """(space, logits, watch) after `method` on the planted problem."""
    space = space or planted()
    watch = watch or Recorded()
    usual = {"epochs": 12, "lr": 0.1, "logits_lr": 0.1, "logits_weight_decay": 0.0}
    recipe, own = split_options(usual | options)
    with seeded(seed):  # the noise
        found = method(bench_of(space, data(seed=1), data(seed=2), seed=seed, watch=watch), recipe, **own)
    return space, found.logits, watch
