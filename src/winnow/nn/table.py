"""Rows of a table as vectors: a vector a category, and for a number value times vector.

Source of the latter: AutoInt, Song et al. 2019, arXiv:1810.11921. Parameters with an axis of k name it in `narrow`.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NEAR_ZERO = 0.01  # deviation of embeddings as they begin; a value that is never trained then says next to nothing


class Embeddings(nn.Module):
    """x (b, fields + numbers) to (b, fields + numbers, k): a vector a category, and for a number value times vector.

    `sizes` are how many ids each field has, of which the first two, unseen and missing, begin as zeros.
    """

    starts: Tensor
    narrow: ClassVar = {"weight": (1,), "numbers": (1,)}

    def __init__(self, sizes: Sequence[int], numbers: int, k: int, deviation: float = NEAR_ZERO):
        super().__init__()
        self.sizes, self.deviation = tuple(sizes), deviation
        self.weight = nn.Parameter(torch.empty(sum(sizes), k))
        self.numbers = nn.Parameter(torch.empty(numbers, k))
        self.register_buffer("starts", torch.empty(len(self.sizes), dtype=torch.long))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        starts = [sum(self.sizes[:place]) for place in range(len(self.sizes))]
        self.starts.copy_(torch.tensor(starts, dtype=torch.long))
        for values in (self.weight, self.numbers):
            nn.init.normal_(values, 0, self.deviation)
        for start in starts:
            self.weight[start : start + 2] = 0

    def forward(self, x: Tensor) -> Tensor:
        ids = x[:, : len(self.sizes)].long() + self.starts
        values = x[:, len(self.sizes) :, None].to(self.numbers.dtype)
        return torch.cat([F.embedding(ids, self.weight), values * self.numbers], 1)


class Additive(nn.Module):
    """Logistic regression: a number a category, one a column of numbers, and a bias, added up; (b, outputs)."""

    def __init__(self, sizes: Sequence[int], numbers: int, outputs: int):
        super().__init__()
        self.each = Embeddings(sizes, numbers, outputs, 0.0)
        self.bias = nn.Parameter(torch.zeros(outputs))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.each(x).sum(1) + self.bias
