"""MeCo: the smallest eigenvalues of the correlations of feature maps (Jiang et al. 2023)."""

import math

import torch
from torch import Tensor, nn

from winnow.proxies.common import Batch, each_output, logits, noise, settled, working_copy

SIDE = 64


@torch.no_grad()
def meco(model: nn.Module, batch: Batch, generator: torch.Generator, side: int = SIDE) -> float:
    """The sum over modules of the smallest eigenvalue of the correlation of their output's channels.

    One image of `side` x `side` N(0, 1) pixels drawn from `generator`; the batch gives its channels only. Every module
    counts, containers and the root too, so that a cell's output counts more than once, as published. Outputs without
    places add 0.
    """
    x, model, found = batch[0], working_copy(model), {}
    terms: list[Tensor] = []

    def keep(module: nn.Module, _: Tensor, output: Tensor) -> None:
        if output.dim() == 4:
            key = (id(output), output._version)
            if key not in found:  # a container returns what its last module did
                found[key] = (smallest_eigenvalue(output[0].flatten(1)), output)
            terms.append(found[key][0])

    each_output(model, nn.Module, keep)
    output = logits(model, noise((1, x.shape[1], side, side), generator, x))
    return settled(sum(terms)) if bool(output.isfinite().all()) else math.nan


def smallest_eigenvalue(channels: Tensor) -> Tensor:
    """Of the correlation of the rows of (channels, places); correlations with a constant row are 0."""
    if len(channels) >= channels.shape[1]:  # centred, their rank is below the number of places
        return torch.zeros((), dtype=torch.float64, device=channels.device)
    rows = channels.double()
    rows = rows - rows.mean(1, keepdim=True)
    norms = rows.norm(dim=1, keepdim=True)
    rows = torch.where(norms > 0, rows / norms.clamp_min(torch.finfo(rows.dtype).tiny), 0)
    return torch.linalg.eigvalsh(rows @ rows.T)[0]
