"""A graph network over cells: each node hears its sources, its followers and itself (Wen et al. 2020)."""

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from winnow.predictors.neural import ensemble
from winnow.predictors.protocol import Numbers, Predict

WIDTH, LAYERS = 64, 3


def gcn(x: np.ndarray, y: Numbers, seed: int) -> Predict:
    """Five networks of three layers over the encoding `graph`; their spread is the deviation."""
    return ensemble(lambda: Gcn(x.shape[2] - x.shape[1]), x, y, seed, lr=3e-3)


class Gcn(nn.Module):
    """(n, nodes, nodes + features) to (n,). The order of the nodes does not matter, nor does a row of zeros."""

    def __init__(self, features: int):
        super().__init__()
        widths = [features, *[WIDTH] * LAYERS]
        self.layers = nn.ModuleList(nn.Linear(3 * a, b) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in self.layers)
        self.read = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1), nn.Flatten(0))

    def forward(self, x: Tensor) -> Tensor:
        feeds, state = x[:, :, : x.shape[1]], x[:, :, x.shape[1] :]
        backward, forward = (m / m.sum(2, keepdim=True).clamp_min(1) for m in (feeds, feeds.transpose(1, 2)))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            state = torch.relu(norm(layer(torch.cat([state, forward @ state, backward @ state], 2))))
        live = x[:, :, x.shape[1] :].any(2, keepdim=True)
        return self.read((state * live).sum(1) / live.sum(1))
