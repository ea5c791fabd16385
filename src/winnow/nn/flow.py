"""A normalising flow under a condition: an invertible map whose change of volume is known at every point."""

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

CLAMP = 2 * 0.636  # times atan(s), so that factors lie in (0.1356, 7.3747)


class Flow(nn.Module):
    """Vectors (n, size) to vectors of that size, under conditions (n, size).

    Blocks of a fixed permutation and an affine coupling of both halves (GLOW, Kingma & Dhariwal 2018,
    arXiv:1807.03039), their factors softly clamped; the settings are those of Roth et al. 2022 (CVPR), public code.
    ValueError where `size` is odd.
    """

    def __init__(self, size: int, blocks: int = 5, depth: int = 8, width: int = 128):
        super().__init__()
        if size % 2:
            raise ValueError(f"the flow couples two halves: it takes vectors of an even size, not {size}")
        self.couplings = nn.ModuleList(Coupling(size, depth, width) for _ in range(blocks))
        for block in range(blocks):  # numbers that are fixed, whatever the seed of a run
            order = torch.randperm(size, generator=torch.Generator().manual_seed(block))
            self.register_buffer(f"order{block}", order, persistent=False)

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """z (n, size), and ln |det dz/dx| (n,)."""
        volume = x.new_zeros(len(x))
        for block, coupling in enumerate(self.couplings):
            x, grown = coupling(x[:, getattr(self, f"order{block}")], condition)
            volume = volume + grown
        return x, volume

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        """The x whose z this is."""
        couplings = cast(Sequence[Coupling], self.couplings)
        for block, coupling in reversed(list(enumerate(couplings))):
            z = coupling.inverse(z, condition)[:, getattr(self, f"order{block}").argsort()]
        return z


class Coupling(nn.Module):
    """Each half (n, size / 2) is scaled and shifted by what a network makes of the other one and the condition."""

    def __init__(self, size: int, depth: int, width: int):
        super().__init__()
        self.first, self.second = (_layers(size // 2 + size, size, depth, width) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        one, other = x.chunk(2, 1)
        scale, shift = _affine(self.first, other, condition)
        one = one * scale.exp() + shift
        again, moved = _affine(self.second, one, condition)
        return torch.cat([one, other * again.exp() + moved], 1), scale.sum(1) + again.sum(1)

    def inverse(self, z: Tensor, condition: Tensor) -> Tensor:
        one, other = z.chunk(2, 1)
        again, moved = _affine(self.second, one, condition)
        other = (other - moved) * (-again).exp()
        scale, shift = _affine(self.first, other, condition)
        return torch.cat([(one - shift) * (-scale).exp(), other], 1)


def _affine(network: nn.Module, half: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of factors, clamped, and shifts, of the shape of `half`."""
    scale, shift = network(torch.cat([half, condition], 1)).chunk(2, 1)
    return CLAMP * scale.atan(), shift


def _layers(given: int, returned: int, depth: int, width: int) -> nn.Sequential:
    sizes = [given, *[width] * (depth - 1), returned]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    return cast(nn.Sequential, nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))[:-1])
