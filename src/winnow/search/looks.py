"""Looks at values: on an accelerator each waits until all that was asked for before it is computed."""

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor


def looked_at(vectors: Mapping[str, Tensor]) -> dict[str, list]:
    """The numbers in each of `vectors`, (n,) or (), all of one type on one device: one look for all of them.

    Steps that compute only what was drawn cannot do without one (GDAS, NSE, UNAS by the batch).
    """
    if not vectors:
        return {}
    numbers = iter(torch.cat([vector.detach().reshape(-1) for vector in vectors.values()]).tolist())
    return {name: list(itertools.islice(numbers, vector.numel())) for name, vector in vectors.items()}
