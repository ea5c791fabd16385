"""ZiCo: gradients that are large and agree between batches (Li et al. 2023, arXiv:2301.11300)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.proxies.common import Batch, Loss, gradients, labelled, layers, logits, loss_of, settled, working_copy


def zico(model: nn.Module, batch: Batch, loss: Loss = F.cross_entropy, parts: int = 2) -> float:
    """The sum over layers of ln of the sum over weights of mean |g| / standard deviation of g.

    `batch` is cut into `parts` batches, each with gradients of its own at the same weights; the standard deviation is
    that of the signed gradients over batches (population), and weights where it is zero are left out, as are layers
    where nothing remains.
    """
    x, y = labelled(batch)
    if len(x) < 2 * parts:
        raise Refused(f"zico compares {parts} batches of 2 or more: it takes {2 * parts} images, not {len(x)}")
    model = working_copy(model)
    weights = [layer.weight for layer in layers(model)]
    pairs = zip(x.chunk(parts), y.chunk(parts), strict=True)
    return from_gradients([gradients(loss_of(loss, logits(model, part), labels), weights) for part, labels in pairs])


def from_gradients(batches: list[list[Tensor]]) -> float:
    """ZiCo of gradients[batch][layer]."""
    terms = []
    for of_layer in zip(*batches, strict=True):
        g = torch.stack(of_layer).double()
        mean, deviation = g.abs().mean(0), g.std(0, correction=0)
        if not bool(g.isfinite().all()):
            return math.nan
        ratios = (mean / deviation)[deviation > 0]
        if len(ratios):
            terms.append(ratios.sum().log())
    return settled(sum(terms) if terms else -math.inf)
