"""The condition number of the neural tangent kernel (TE-NAS: Chen et al. 2021, arXiv:2102.11535)."""

import math

import torch
from torch import Tensor, nn

from winnow.proxies.common import FAN_OUT, Batch, Initialise, gradients, logits, settled, several, working_copy

UNKNOWN = 1e5  # published in place of 0/0


def ntk_condition(
    model: nn.Module, batch: Batch, generator: torch.Generator, init: Initialise | None = FAN_OUT
) -> float:
    """The largest over the smallest eigenvalue of G Gᵀ; small is good.

    A row of G is the gradient of one image's summed logits to every parameter named "weight", in training mode on the
    whole batch. Weights are drawn anew from `generator`, Kaiming-normal by fan-out. One backward pass an image:
    published on a network of three channels and one cell a stage with 72 images, not at full size.
    """
    x, model = several(batch), working_copy(model)
    if init is not None:
        init(model, generator)
    weights = [p for name, p in model.named_parameters() if "weight" in name]
    answers = logits(model, x).flatten(1).sum(1)
    kept = {"retain_graph": True}
    rows = [torch.cat([g.flatten() for g in gradients(a, weights, **kept)]) for a in answers]
    return condition(torch.stack(rows).double()) if bool(answers.isfinite().all()) else math.nan


def condition(rows: Tensor) -> float:
    values = torch.linalg.eigvalsh(rows @ rows.T)
    if values[-1] <= 0:
        return UNKNOWN
    return settled(values[-1] / values[0] if values[0] > 0 else math.inf, direction=-1)
