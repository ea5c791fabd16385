"""MeCo: the smallest eigenvalues of the correlations of feature maps (Jiang et al. 2023)."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.proxies.common import Batch, logits, noise, settled, working_copy

SIDE = 64


@torch.no_grad()
def meco(model: nn.Module, batch: Batch, generator: torch.Generator, side: int = SIDE) -> float:
    """The sum over modules of the smallest eigenvalue of the correlation of their output's channels.

    One image of `side` x `side` N(0, 1) pixels drawn from `generator`; the batch gives its channels only. Every module
    counts, containers and the root too, so that a cell's output counts more than once, as published: the number depends
    on how modules are wrapped, the order hardly (ranks of two wrappings agree at 0.988). Outputs without
    places add 0. Refused where no module is a convolution, and where the network takes images of another size alone.
    """
    model = working_copy(model)
    return eigenvalues_of(model, list(model.modules()), noise((1, batch[0].shape[1], side, side), generator, batch[0]))


def eigenvalues_of(model: nn.Module, modules: Iterable[nn.Module], x: Tensor) -> float:
    """The sum of the smallest eigenvalues of what `modules` answer while `model` answers `x`, one image.

    Refused without convolutions: what attention returns in four axes are no maps of channels.
    """
    modules = list(modules)
    if not any(isinstance(module, nn.Conv2d) for module in modules):
        raise Refused("meco compares channels of feature maps, and this network has no convolution that makes any")
    found: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
    terms: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4:
            key = (id(output), output._version)
            if key not in found:  # a container returns what its last module did
                found[key] = (smallest_eigenvalue(output[0].flatten(1)), output)
            terms.append(found[key][0])

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        output = logits(model, x)
    except Refused as refusal:
        raise Refused(f"meco looks at one image of {x.shape[-1]} x {x.shape[-1]} pixels: {refusal}") from refusal
    finally:
        for handle in handles:
            handle.remove()
    return settled(sum(terms)) if bool(output.isfinite().all()) else math.nan


def smallest_eigenvalue(channels: Tensor) -> Tensor:
    """Of the correlation of the rows of (channels, places); correlations with a constant row are 0."""
    if len(channels) >= channels.shape[1]:  # centred, their rank is below the number of places
        return torch.zeros((), dtype=torch.float64, device=channels.device)
    rows = channels.double()
    rows = rows - rows.mean(1, keepdim=True)
    gram = rows @ rows.T
    norms = gram.diagonal().sqrt()
    norms = torch.where(norms > 0, norms, torch.inf)
    return torch.linalg.eigvalsh((gram / norms[:, None] / norms).nan_to_num(0, 0, 0))[0]
