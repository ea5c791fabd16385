"""One input of a network, for whoever runs it to count or to time: the shape of a tensor, or the input itself."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

Example = tuple[int, ...] | Tensor | Mapping[str, Tensor]  # a shape without the batch, or an input with a batch of one


def zeros(example: Example, batch: int = 1, device: str | torch.device = "cpu") -> Any:
    """A batch that costs nothing to make: zeros of a shape, or the input `batch` times."""
    return _batch(example, lambda shape: torch.zeros(batch, *shape), batch, device)


def noise(example: Example, generator: torch.Generator, batch: int = 1, device: str | torch.device = "cpu") -> Any:
    """A batch of N(0, 1) of a shape, from a CPU generator, or the input `batch` times."""
    return _batch(example, lambda shape: torch.randn(batch, *shape, generator=generator), batch, device)


def row_of(example: Example) -> list[Any] | None:
    """The input itself as nested lists, where it is one; None where there is a shape alone."""
    return example[0].tolist() if isinstance(example, Tensor) else None


def _batch(example: Example, make: Any, batch: int, device: str | torch.device) -> Any:
    if isinstance(example, Tensor):
        return example.expand(batch, *example.shape[1:]).to(device)
    if isinstance(example, Mapping):
        return {name: _batch(each, make, batch, device) for name, each in example.items()}
    return make(tuple(example)).to(device)
