"""AZ-NAS' four scores: expressivity, progressivity, trainability, complexity (Lee & Ham 2024, arXiv:2403.19232).

One batch of Gaussian images runs through a network of Kaiming-normal weights (fan-in) in training mode; what is looked
at are the features between its primary blocks. The published code names blocks by hand; here `blocks` finds them, and
on NAS-Bench-201 they are the published ones: the stem's output, fifteen cells and two reductions. Covariances are in
double precision with eigenvalues cut off at 0, which the published single precision takes for missing in pool-heavy
nets. Ranks are put together by `winnow.proxies.aggregate.log_rank`.

Of transformers the features are tokens behind each residual block, weights begin as truncated normals, and a block that
does nothing is passed over: the authors' second code, for AutoFormer, whose score leaves progressivity out (aggregate
`az_nas_vit`). It runs them in evaluation mode, which is the same without BatchNorm and dropout.
"""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.core.holes import Hole
from winnow.proxies.common import (
    FAN_IN,
    TRUNCATED,
    Batch,
    Initialise,
    gradients,
    logits,
    noise,
    settled,
    several,
    working_copy,
)
from winnow.proxies.size import macs


def drawn(model: nn.Module, generator: torch.Generator) -> None:
    """New weights as AZ-NAS draws them: with LayerNorms those of a transformer, else Kaiming-normal by fan-in."""
    (TRUNCATED if any(isinstance(m, nn.LayerNorm) for m in model.modules()) else FAN_IN)(model, generator)


def expressivity(model: nn.Module, batch: Batch, generator: torch.Generator, init: Initialise | None = drawn) -> float:
    """The sum over features, the stem's too, of the entropy of their covariance's spectrum, in nats."""
    return settled(sum(entropies(_features(model, batch, generator, init, grad=False))))


def progressivity(model: nn.Module, batch: Batch, generator: torch.Generator, init: Initialise | None = drawn) -> float:
    """The smallest gain of entropy from one feature to the next."""
    return settled(least_gain(entropies(_features(model, batch, generator, init, grad=False))))


def trainability(model: nn.Module, batch: Batch, generator: torch.Generator, init: Initialise | None = drawn) -> float:
    """The mean over blocks of 2 - s - 1/s, s the spectral norm of the block's mean Jacobian; 0 at most, at s = 1."""
    features = _features(model, batch, generator, init, grad=True)
    return settled(mean_trainability(features, rademacher(features, generator)))


def complexity(model: nn.Module, batch: Batch) -> float:
    """Multiply-accumulates for one image."""
    return macs(model, batch)


def blocks(model: nn.Module) -> list[nn.Module]:
    """The primary blocks in the order of registration: the first modules, from the root down, that are more than lists.

    Where nothing is nested, ReLUs are the blocks, else convolutions: features are then taken behind them.
    """
    found = list(composite(model))
    for kind in (nn.ReLU, nn.Conv2d):
        if len(found) < 2:
            found = [module for module in model.modules() if isinstance(module, kind)]
    if len(found) < 2:
        raise Refused("AZ-NAS compares the features of blocks, and this network has fewer than two")
    return found


def block_features(model: nn.Module, x: Tensor, found: list[nn.Module] | None = None) -> list[Tensor]:
    """What enters the first block, unless that is the image, and what leaves each block, in the order of calls."""
    features: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(inputs[0], Tensor):
            what = f"{type(module).__name__} takes a {type(inputs[0]).__name__}"
            raise Refused(f"this proxy compares the maps that blocks hand on, and {what} of several: take another")
        if not features and inputs[0] is not x:
            features.append(inputs[0])
        if isinstance(output, Tensor) and output.dim() in (3, 4):
            features.append(output)

    handles = [block.register_forward_hook(keep) for block in found or blocks(model)]
    try:
        logits(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return features


def entropies(features: list[Tensor]) -> list[Tensor]:
    return [entropy(_rows(f.detach())) for f in features]


def entropy(rows: Tensor) -> Tensor:
    """-sum p ln p over the normalised eigenvalues p of the covariance of (samples, channels); -inf for a constant.

    Eigenvalues below 1e-12 of the mean square are what rounding left of nothing.
    """
    rows = rows.double()
    square, mean = rows.T @ rows / len(rows), rows.mean(0)
    if not bool(square.isfinite().all()):
        return square.new_tensor(math.nan)
    values = torch.linalg.eigvalsh(square - torch.outer(mean, mean))
    values = torch.where(values > 1e-12 * square.trace(), values, 0)
    p = values / values.sum()
    return -(p * torch.log(p + 1e-8)).sum() if values.sum() > 0 else values.new_tensor(-math.inf)


def least_gain(entropy_of: list[Tensor]) -> Tensor:
    """-inf where one is: what came out of nothing is no progress."""
    values = torch.stack(entropy_of)
    return values.diff().min() if bool(values.isfinite().all()) else values.min()


def rademacher(features: list[Tensor], generator: torch.Generator) -> list[Tensor]:
    """For each feature but the first, in its layout, +1 or -1 everywhere, drawn on the CPU from last to first."""
    signs = [
        torch.empty_like(f).copy_(torch.randint(0, 2, f.shape, generator=generator) * 2 - 1) for f in features[:0:-1]
    ]
    return signs[::-1]


def mean_trainability(features: list[Tensor], signs: list[Tensor]) -> Tensor:
    terms = []
    for before, after, g in reversed(list(zip(features[:-1], features[1:], signs, strict=True))):
        if not after.requires_grad:  # nothing of the image is left
            return after.new_tensor(math.nan if bool(after.isnan().any()) else -math.inf)
        (back,) = gradients(after, [before], grad_outputs=g, retain_graph=True)
        if back.shape == g.shape and torch.equal(back[:1], g[:1]) and torch.equal(back, g):
            if after.dim() == 3:  # a block that is an identity: of tokens it is passed over
                continue
            return after.new_tensor(-math.inf)
        terms.append(spectral_term(_mean_jacobian(back.detach(), g)))
    return torch.stack(terms).mean() if terms else features[0].new_tensor(-math.inf)


def spectral_term(sigma: Tensor) -> Tensor:
    return 2 - sigma - 1 / (sigma + 1e-6)


def _mean_jacobian(back: Tensor, g: Tensor) -> Tensor:
    """The largest singular value of Gbackᵀ G / rows: with E[g gᵀ] = 1, of the mean Jacobian of the block."""
    if back.dim() == 4 and back.shape[2] > g.shape[2]:
        stride = -(-back.shape[2] // g.shape[2])
        missing = [stride * small - large for large, small in zip(back.shape[2:], g.shape[2:], strict=True)]
        back = F.pixel_unshuffle(F.pad(back, (0, missing[1], 0, missing[0])), stride)  # odd sides are filled up
    a, b = _places(back), _places(g)
    of_each = a.transpose(1, 2) @ b  # image by image, so that single precision adds few numbers only
    return torch.linalg.matrix_norm(of_each.double().sum(0) / b.shape[:2].numel(), 2)


def _rows(feature: Tensor) -> Tensor:
    """(samples, channels)"""
    return _places(feature).flatten(0, 1)


def _places(feature: Tensor) -> Tensor:
    """(n, places, channels) of images (n, c, h, w) or tokens (n, t, c)."""
    return feature.movedim(1, -1).flatten(1, 2) if feature.dim() == 4 else feature


def _features(
    model: nn.Module, batch: Batch, generator: torch.Generator, init: Initialise | None, grad: bool
) -> list[Tensor]:
    x, model = several(batch), working_copy(model).requires_grad_(False)
    if init is not None:
        init(model, generator)
    x = noise(x.shape, generator, x).requires_grad_(grad)
    with torch.set_grad_enabled(grad):
        return block_features(model, x)


def composite(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        chain = isinstance(child, nn.Sequential) or type(child) is nn.ModuleList  # others hold what runs side by side
        listed = chain and any(nested(c) for c in child.children())
        if listed:
            yield from composite(child)
        elif nested(child):
            yield child


def nested(module: nn.Module) -> bool:
    return isinstance(module, Hole) or next(module.children(), None) is not None
