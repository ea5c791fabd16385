"""Information paths between feature pyramids, and the neck that adds them up (Liang et al. 2021, arXiv:2103.04507).

A pyramid has four levels (batch, channels, height, width), the finest first, each about half as large as the last one.
It travels as one tensor, (batch, channels, pixels of all levels), beside the sizes of its levels: sums and mixtures of
pyramids are sums of tensors. Nothing is changed in place. All sizes are odd or even as they come.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.nn.deformable import Deformable, Kernel, undeformed

LEVELS = 4
Sizes = Sequence[tuple[int, int]]
Unit = Callable[..., nn.Module]  # (c_in, c_out, stride=1, std=None)


def packed(levels: Sequence[Tensor]) -> tuple[Tensor, Sizes]:
    """The pyramid as one tensor, and the (height, width) of its levels."""
    sizes = [(level.shape[2], level.shape[3]) for level in levels]
    return torch.cat([level.flatten(2) for level in levels], 2), sizes


def unpacked(x: Tensor, sizes: Sizes) -> list[Tensor]:
    parts = x.split([height * width for height, width in sizes], 2)
    return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """To the nearest pixel."""
    return x if tuple(x.shape[2:]) == tuple(size) else F.interpolate(x, size=size, mode="nearest")


def halved(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest of each 2 x 2 pixels, then `resized`; a side of one stays."""
    return resized(F.max_pool2d(x, [min(2, side) for side in x.shape[2:]]), size)


class Nothing(nn.Module):
    """Zeros, through which no gradient passes."""

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        return torch.zeros_like(x)


class Skip(nn.Module):
    """The pyramid itself."""

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        return x


class Sequential(nn.Module):
    """From one end to the other: a kernel a level, on the level and what its neighbour has become.

    F_l = W_l * (X_l + U(F_l+1)) from the coarsest on (top-down), or X_l + D(F_l-1) from the finest (bottom-up). The
    finest level is never deformed; a deformable kernel has offsets there too, which nobody reads, as released.
    """

    def __init__(self, unit: Unit, channels: int, down: bool):
        super().__init__()
        self.down = down
        self.kernels = nn.ModuleList(unit(channels, channels) for _ in range(LEVELS))

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        levels, found = unpacked(x, sizes), {}
        before: Tensor | None = None
        for i in reversed(range(LEVELS)) if self.down else range(LEVELS):
            level = levels[i]
            if before is not None:
                level = level + (resized(before, sizes[i]) if self.down else halved(before, sizes[i]))
            before = self.kernels[i](level) if i else undeformed(self.kernels[i], level)
            found[i] = before
        return packed([found[i] for i in range(LEVELS)])[0]


class FusingSplitting(nn.Module):
    """Two levels fused of the finer and of the coarser pair, each with the other's, and split into four again.

    `shared`: one kernel for both, as the released code has by its list multiplication; published are two.
    """

    steady = True  # a kernel is called for several levels, the same ones always

    def __init__(self, unit: Unit, channels: int, shared: bool):
        super().__init__()
        self.large = unit(2 * channels, channels)
        self.small = self.large if shared else unit(2 * channels, channels)

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        x2, x3, x4, x5 = unpacked(x, sizes)
        small, large = resized(x5, sizes[2]) + x4, halved(x2, sizes[1]) + x3
        fine = self.large(torch.cat([large, resized(small, sizes[1])], 1))
        coarse = self.small(torch.cat([halved(large, sizes[2]), small], 1))
        return packed([resized(fine, sizes[0]), fine, coarse, halved(coarse, sizes[3])])[0]


class ScaleEqualising(nn.Module):
    """A convolution over the pyramid: ReLU(W * X_l + W- * X_l-1, strided, + U(W+ * X_l+1)), its kernels all levels'.

    What goes to the finest level is never deformed.
    """

    steady = True  # a kernel is called for several levels, the same ones always

    def __init__(self, unit: Unit, channels: int):
        super().__init__()
        self.same, self.coarser = (unit(channels, channels, std=0.01) for _ in range(2))
        self.finer = unit(channels, channels, 2, std=0.01)

    def forward(self, x: Tensor, sizes: Sizes) -> Tensor:
        levels, found = unpacked(x, sizes), []
        for i, level in enumerate(levels):
            run = (lambda kernel, each: kernel(each)) if i else undeformed
            total = run(self.same, level)
            if i:
                total = total + resized(run(self.finer, levels[i - 1]), sizes[i])
            if i + 1 < LEVELS:
                total = total + resized(run(self.coarser, levels[i + 1]), sizes[i])
            found.append(F.relu(total))
        return packed(found)[0]


PATHS = ("none", "skip_connect", "top_down", "bottom_up", "fusing_splitting", "scale_equalising")  # as released


def paths(channels: int, deformable: bool, shared: bool = False) -> dict[str, nn.Module]:
    """One of each information path, by name, in the order of the released code."""
    unit: Unit = Deformable if deformable else Kernel
    made = (
        Nothing(),
        Skip(),
        Sequential(unit, channels, down=True),
        Sequential(unit, channels, down=False),
        FusingSplitting(unit, channels, shared),
        ScaleEqualising(unit, channels),
    )
    return dict(zip(PATHS, made, strict=True))


class Xavier(nn.Conv2d):
    """A convolution that begins as Xavier's uniform, its bias at zero."""

    def reset_parameters(self) -> None:
        nn.init.xavier_uniform_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


class Neck(nn.Module):
    """Backbone maps to a pyramid of one width: laterals, context of the whole, then nodes that add up their `edges`.

    Takes three or four maps, the finest first, of `channels`; of three the fourth level is a strided convolution of the
    last one's lateral (the published one-stage form). Returns four, (batch, width, height, width) each: P_i is the sum
    of what the edges j -> i < `nodes` make of P_j, P_0 is made of the maps, and the sum of P_1, P_2, ... is returned.
    Edges are called by `edge(x, sizes=sizes)` on packed pyramids, in the order (1, 0), (2, 0), (2, 1), (3, 0), ...
    """

    def __init__(self, channels: Sequence[int], width: int, nodes: int, edges: Sequence[nn.Module]):
        super().__init__()
        if len(channels) not in (LEVELS - 1, LEVELS):
            raise ValueError(f"the neck takes {LEVELS - 1} or {LEVELS} maps of a backbone, not {len(channels)}")
        if len(edges) != nodes * (nodes + 1) // 2:
            raise ValueError(f"{nodes} nodes have {nodes * (nodes + 1) // 2} edges, not {len(edges)}")
        self.nodes = nodes
        self.laterals = nn.ModuleList(Xavier(each, width, 1) for each in channels)
        self.extra = nn.ModuleList(Xavier(width, width, 3, 2, 1) for _ in range(LEVELS - len(channels)))
        self.context = Xavier(width, width, 1)
        self.edges = nn.ModuleList(edges)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(each) for lateral, each in zip(self.laterals, maps, strict=True)]
        for extra in self.extra:
            levels.append(extra(levels[-1]))
        levels[-1] = levels[-1] + self.context(levels[-1]).mean((2, 3), keepdim=True)
        start, sizes = packed(levels)
        pyramids, edges = [start], iter(self.edges)
        for _ in range(self.nodes):
            terms = [next(edges)(each, sizes=sizes) for each in pyramids]
            pyramids.append(sum(terms[1:], terms[0]))
        return unpacked(sum(pyramids[2:], pyramids[1]), sizes)
