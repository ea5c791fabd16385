"""Scores of children that run inside their space, without being derived: what reads one forward pass shares it.

The numbers are those of the plain functions of the derived child, which the tests hold them to.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Asking, Choice, Hole
from winnow.core.space import Space
from winnow.proxies import az_nas
from winnow.proxies.common import Batch, BatchNorm, labelled, logits, noise, settled, several, walk, working_copy
from winnow.proxies.jacobian import epe, epe_of, jacob_cov, jacob_cov_of, jacobian_rows
from winnow.proxies.live import live_among
from winnow.proxies.meco import SIDE, eigenvalues_of
from winnow.proxies.once import Once
from winnow.proxies.patterns import agreement
from winnow.proxies.size import elements
from winnow.proxies.together import Scorer

IMAGES = ("naswot", "jacob_cov", "epe")


def images_of(space: Space, batch: Batch, names: Sequence[str]) -> Scorer:
    """Those `names` of NASWOT, Jacobian covariance and EPE-NAS from one forward pass and at most one backward.

    No child is copied, a node's ReLU and its pattern are computed once for all edges, and autograd's own graph says
    which ReLUs lie between image and logits.
    """
    x, model = several(batch).contiguous(memory_format=torch.channels_last), _inside(space)

    def one(arch: Architecture) -> dict[str, float | str]:
        pixels, network = x.detach().requires_grad_(), _Answered(model, arch)
        calls: list[tuple[object, Tensor]] = []
        patterns = WeakTensorKeyDictionary()

        def relu(before: Tensor, after: Tensor) -> None:
            if before not in patterns:
                patterns[before] = agreement(before.detach())
            calls.append((after.grad_fn, patterns[before]))

        with Once(relu if "naswot" in names else lambda before, after: None):
            output = logits(network, pixels)
        found = {"naswot": _naswot(output, calls, len(x))} if "naswot" in names else {}
        return found | _from_slopes(output, pixels, arch)

    def _from_slopes(output: Tensor, pixels: Tensor, arch: Architecture) -> dict[str, float | str]:
        rows = functools.cache(lambda: jacobian_rows(output, pixels))
        ways = {
            "jacob_cov": lambda: jacob_cov_of(rows()),
            "epe": lambda: epe_of(rows(), output.shape[-1], labelled(batch)[1]),
        }
        if not output.requires_grad:  # nothing of the image is left, or no gradient: the plain functions tell
            ways = {
                "jacob_cov": lambda: jacob_cov(space.derive(arch), batch),
                "epe": lambda: epe(space.derive(arch), batch),
            }
        return {name: _or_reason(way) for name, way in ways.items() if name in names}

    return lambda archs: [one(arch) for arch in archs]


def _or_reason(score: Callable[[], float]) -> float | str:
    """The score, or the sentence that refuses it: other scores of the same pass stand."""
    try:
        return settled(score())
    except Refused as refusal:
        return str(refusal)


def az_nas_of(space: Space, batch: Batch, generator: torch.Generator) -> Scorer | None:
    """Expressivity, progressivity and trainability from one forward pass; None where blocks depend on the child.

    The space's weights as they are: initialise it once with `az_nas.drawn`. Images and signs are drawn once.
    """
    model = _inside(space)
    if not all(_same_blocks(block) for block in az_nas.blocks(model.model)):
        return None
    x = several(batch)
    x = noise(x.shape, generator, x).contiguous(memory_format=torch.channels_last).requires_grad_()
    state = generator.get_state()
    drawn: dict[tuple, list[Tensor]] = {}

    def one(arch: Architecture) -> dict[str, float | str]:
        with Once():
            features = az_nas.block_features(_Answered(model, arch), x, az_nas.blocks(model.model))
        shapes = tuple(f.shape for f in features)
        if shapes not in drawn:
            generator.set_state(state)
            drawn[shapes] = az_nas.rademacher(features, generator)
        entropies = az_nas.entropies(features)
        return {
            "expressivity": settled(sum(entropies)),
            "progressivity": settled(az_nas.least_gain(entropies)),
            "trainability": settled(az_nas.mean_trainability(features, drawn[shapes])),
        }

    return lambda archs: [one(arch) for arch in archs]


def meco_of(space: Space, batch: Batch, generator: torch.Generator) -> Scorer | None:
    """MeCo inside the space; None where a child holds modules that the space does not (sums of several candidates)."""
    if not all(type(hole) is Choice and not hole.decision.several for hole in space.holes):
        return None
    model = _inside(space)
    x = noise((1, batch[0].shape[1], SIDE, SIDE), generator, batch[0]).contiguous(memory_format=torch.channels_last)
    modules = [module for module in model.model.modules() if not isinstance(module, Hole)]

    @torch.no_grad()
    def one(arch: Architecture) -> float:
        return eigenvalues_of(_Answered(model, arch), modules, x)

    return lambda archs: [{"meco": one(arch)} for arch in archs]


def live_params_of(space: Space, batch: Batch) -> Scorer | None:
    """The size of what lives, by a forward pass of two images inside the space; None where a child's layers are smaller
    than those that the space holds (elastic ones).
    """
    if not all(isinstance(hole, Asking) for hole in space.holes):
        return None
    model, x = _inside(space), batch[0][:2].contiguous(memory_format=torch.channels_last)
    modules = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]

    def one(arch: Architecture) -> float:
        return elements(live_among(_Answered(model, arch), modules, x))

    return lambda archs: [{"live_params": one(arch)} for arch in archs]


class _Answered(nn.Module):
    """A space with an architecture posted, as an ordinary network; nothing is copied."""

    def __init__(self, space: Space, arch: Architecture):
        super().__init__()
        self.space, self.arch = space, arch

    def forward(self, x: Tensor) -> Tensor:
        return self.space(x, self.arch)


def _naswot(output: Tensor, calls: list[tuple[object, Tensor]], images: int) -> float:
    if not calls:
        raise Refused("naswot reads ReLUs, and this network calls none")
    path = set(walk(output.grad_fn)) if output.grad_fn is not None else set()
    kernel = torch.zeros(images, images, dtype=torch.float64, device=output.device)
    for node, pattern in calls:
        if node in path:
            kernel += pattern
    return settled(torch.linalg.slogdet(kernel).logabsdet if output.isfinite().all() else torch.nan)


def _inside(space: Space) -> Space:
    """A working copy whose BatchNorms keep no running statistics, so that children do not see each other."""
    space = working_copy(space).requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for module in space.modules():
        if isinstance(module, BatchNorm):
            module.track_running_stats, module.running_mean, module.running_var = False, None, None
    return space


def _same_blocks(block: nn.Module) -> bool:
    return not isinstance(block, Hole) or (
        type(block) is Choice and not block.decision.several and all(map(az_nas.nested, block.candidates.values()))
    )
