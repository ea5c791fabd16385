"""Zen-score: how far features move with the image, without the scale that BatchNorms take away (arXiv:2102.01063)."""

import torch
from torch import Tensor, nn

from winnow.proxies.common import (
    Batch,
    BatchNorm,
    Initialise,
    each_output,
    logits,
    noise,
    settled,
    several,
    standard_normal,
    working_copy,
)

STEP = 0.01  # gamma: how far the second image lies from the first


@torch.no_grad()
def zen(
    model: nn.Module,
    batch: Batch,
    generator: torch.Generator,
    init: Initialise | None = standard_normal,
    repeats: int = 1,
) -> float:
    """ln mean |f(x) - f(x + 0.01 x')| + sum over BatchNorms of ln sqrt(mean over channels of the batch variance).

    Weights and images are N(0, 1) drawn from `generator`; the batch gives their shape only. f is the last feature map
    before global pooling. The variance is the paper's: that of the batch; the released code reads a running mean of it
    instead. A BatchNorm that sees zeros adds nothing. Made for plain networks (Lin et al. 2021).
    """
    scores = [_once(working_copy(model), several(batch), generator, init) for _ in range(repeats)]
    return settled(sum(scores) / repeats)


def _once(model: nn.Module, x: Tensor, generator: torch.Generator, init: Initialise | None) -> Tensor:
    if init is not None:
        init(model, generator)
    first, step = noise(x.shape, generator, x), noise(x.shape, generator, x)
    features, deviations = _features(model, first)
    moved, _ = _features(model, first + STEP * step)
    distance = (features - moved).abs().flatten(1).sum(1, dtype=torch.float64).mean()
    return distance.log() + sum(deviations)


def _features(model: nn.Module, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The input of the first global pooling, else the last feature map; ln standard deviation for each BatchNorm."""
    pooled: list[Tensor] = []
    maps: list[Tensor] = []
    deviations: list[Tensor] = []

    def keep(module: nn.Module, before: Tensor, after: Tensor) -> None:
        if isinstance(module, nn.AdaptiveAvgPool2d):
            pooled.append(before)
        elif after.dim() == 4:
            maps[:] = [after]
        if isinstance(module, BatchNorm):
            places = [d for d in range(before.dim()) if d != 1]
            variance = before.double().var(places, correction=0).mean()
            deviations.append(torch.where(variance > 0, variance.log() / 2, variance))  # of zeros: 0

    handles = each_output(model, nn.Module, keep)
    try:
        output = logits(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return [*pooled, *maps, output][0], deviations
