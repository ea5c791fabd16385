"""How the columns of a data set become what a network is given: one file a kind, each with `draw` and `make`.

The numbers of an epoch are drawn before it starts, from a CPU generator, so a GPU run sees the same inputs as a CPU run
and no batch waits for a transfer.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor


class Inputs(Protocol):
    """What a network is given of the columns `reads`, with or without augmentation.

    Where that moves what is to be told, as boxes, there is `turned(answers, draws)` too: the answers of such a batch.
    """

    @property
    def reads(self) -> tuple[str, ...]: ...

    def draw(self, count: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The random numbers of an epoch of `count` rows, each tensor with a row a row; none without augmentation."""
        ...

    def make(self, columns: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Any:
        """A batch, on the device of `columns`: rows and their numbers as they were drawn.

        A float32 tensor (batch, ...), or a dict of tensors for a network that takes several.
        """
        ...
