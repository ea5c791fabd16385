"""The NAS-Bench-201 space: one cell of four nodes, repeated (Dong & Yang 2020, arXiv:2001.00326)."""

import re
from collections.abc import Iterable, Mapping
from typing import cast

import torch
import torch.nn as nn
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.holes import Choice
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.holes.mixing import counting, mixing
from winnow.nn.blocks import ResidualReduction
from winnow.nn.mixture import add_edges
from winnow.nn.ops import nb201_op
from winnow.spaces.options import positive

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
RESIDUAL = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))  # (source, node) in the order of the published strings


class Cell(nn.Module):
    """Node 0 is the input, node 3 the output; a node is the sum of its incoming edges. Keeps shape."""

    def __init__(self, channels: int, affine: bool):
        super().__init__()
        self.edges = nn.ModuleList(
            Choice(f"{node}<-{source}", {op: nb201_op(op, channels, affine) for op in OPS}) for source, node in EDGES
        )

    def forward(self, x: Tensor) -> Tensor:
        if mixing(self.edges):
            return self._mixed(x)
        nodes: list[Tensor] = [x]
        for (source, node), edge in zip(EDGES, self.edges, strict=True):
            term = edge(nodes[source])
            if node == len(nodes):
                nodes.append(term)
            else:
                nodes[node] = nodes[node] + term
        return nodes[-1]

    def _mixed(self, x: Tensor) -> Tensor:
        """The same for a mixture, source by source: see `winnow.nn.mixture`."""
        x = x.contiguous(memory_format=torch.channels_last)
        sums: dict[int, Tensor | None] = dict.fromkeys((1, 2, 3))
        for source in (0, 1, 2):
            leaving = {
                node: edge
                for (s, node), edge in zip(EDGES, cast(Iterable[Choice], self.edges), strict=True)
                if s == source
            }
            edges = [(edge.candidates, counting(edge, x.device)) for edge in leaving.values()]
            sums.update(zip(leaving, add_edges([sums[node] for node in leaving], x, edges), strict=True))
            found = sums[source + 1]
            x = torch.zeros_like(x) if found is None else found
        return x


class Network(nn.Sequential):
    """Computes mixtures channels last."""

    def forward(self, x: Tensor) -> Tensor:
        cell = next(layer for layer in self if isinstance(layer, Cell))
        x = x.contiguous(memory_format=torch.channels_last) if mixing(cell.edges) else x
        return super().forward(x)  # type: ignore[no-untyped-call]


def nas_bench_201(
    channels: Positive = 16, cells: Positive = 5, classes: int = 10, image_channels: int = 3, final: bool = False
) -> Space:
    """Stem, three stages of `cells` cells at 1, 2 and 4 times `channels`, head; x is (batch, image_channels, h, w).

    15,625 architectures of six decisions "1<-0" ... "3<-2", shared by all cells. While searching, BatchNorms inside
    cells are not affine; in a `final` network all are, as in the benchmark's own training. ValueError on sizes below 1.
    """
    positive(channels=channels, cells=cells, classes=classes, image_channels=image_channels)
    widths = (channels, 2 * channels, 4 * channels)
    layers: list[nn.Module] = [nn.Conv2d(image_channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)]
    for before, width in zip((channels, *widths), widths, strict=False):
        if width != before:
            layers.append(ResidualReduction(before, width, affine=True))
        layers += [Cell(width, affine=final) for _ in range(cells)]
    pooled = [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Space(Network(*layers, *pooled, nn.Linear(widths[-1], classes)))


def residual(space: Space) -> Architecture:
    """The cell made by hand: a residual block of two convolutions (He et al. 2016, arXiv:1512.03385, figure 2)."""
    cell = from_string(RESIDUAL)
    return space.decide(lambda d: cell[d.name])


def to_string(arch: Mapping[str, Value]) -> str:
    """The benchmark's own notation: "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"."""
    nodes = [[f"{arch[f'{node}<-{source}']}~{source}" for source in range(node)] for node in (1, 2, 3)]
    return "+".join("|" + "|".join(terms) + "|" for terms in nodes)


def from_string(text: str) -> Architecture:
    """The inverse of `to_string`. ValueError where `text` is not a cell in the benchmark's notation."""
    op = "(" + "|".join(OPS) + ")"
    pattern = r"\+".join(r"\|" + "".join(rf"{op}~{source}\|" for source in range(node)) for node in (1, 2, 3))
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(f"not a NAS-Bench-201 cell: {text!r}; a cell reads like '|{OPS[3]}~0|+|{OPS[0]}~0|...'")
    return Architecture.of({f"{node}<-{source}": op for (source, node), op in zip(EDGES, match.groups(), strict=True)})
