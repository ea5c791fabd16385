"""The NAS-Bench-101 space: one cell of up to seven nodes, repeated (Ying et al. 2019, arXiv:1902.09635)."""

import copy
import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from winnow.core.decision import Decision, Value
from winnow.core.holes import Asking, Hole
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.nn.blocks import conv_norm
from winnow.spaces.nb101_cells import MOST_NODES, NODES, Cell, cell_of, channels, decisions, represent
from winnow.spaces.options import positive, sizes

STACKS = 3  # each begins by halving the image and doubling the channels, but the first
KERNELS = {"conv3x3": 3, "conv1x1": 1}


def layer(c_in: int, c_out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(*conv_norm(c_in, c_out, kernel, 1), nn.ReLU())


class Parts(nn.Module):
    """What the nodes of a cell are cut from, at full width: projections of the input and the convolutions."""

    def __init__(self, c_in: int, c_out: int, most: int):
        super().__init__()
        self.c_in, self.c_out = c_in, c_out
        self.projections = nn.ModuleList(layer(c_in, c_out, 1) for _ in range(1, most))  # of nodes 1 ..., the output
        self.ops = nn.ModuleList(
            nn.ModuleDict({op: layer(c_out, c_out, kernel) for op, kernel in KERNELS.items()})
            for _ in range(1, most - 1)
        )

    def built(self, cell: Cell) -> "Module":
        """The cell over the first channels of its layers, whose weights and statistics are views of those here."""
        width, last = channels(cell, self.c_in, self.c_out), cell.nodes - 1
        projections = {
            str(node): _first(self.projections[-1 if node == last else node - 1], self.c_in, width[node])
            for node in cell.followers(0)
        }
        ops = [
            nn.MaxPool2d(3, 1, 1) if op not in KERNELS else _first(cast(nn.ModuleDict, self.ops[i])[op], c, c)
            for i, (op, c) in enumerate(zip(cell.ops, width[1:last], strict=True))
        ]
        return Module(cell, width, projections, ops)


def _first(whole: nn.Module, c_in: int, c_out: int) -> nn.Module:
    """A layer over the first channels of `whole`: all that it has are views, so that statistics are kept there."""
    parts: list[Any] = [copy.copy(part) for part in whole.children()]
    conv, norm, relu = parts
    conv._parameters = {**conv._parameters, "weight": conv.weight[:c_out, :c_in]}
    conv.in_channels, conv.out_channels, norm.num_features = c_in, c_out, c_out
    for store in ("_parameters", "_buffers"):
        given = getattr(norm, store)
        setattr(norm, store, {name: v[:c_out] if v is not None and v.dim() else v for name, v in given.items()})
    return nn.Sequential(conv, norm, relu)


class Module(nn.Module):
    """A cell as a network. Nodes add what leads to them, the output concatenates it; the input is projected wherever it
    leads, and added. A node that is a channel wider than one it leads to hands on its first ones.
    """

    def __init__(self, cell: Cell, width: Sequence[int], projections: dict[str, nn.Module], ops: Sequence[nn.Module]):
        super().__init__()
        self.cell, self.width = cell, tuple(width)
        self.projections, self.ops = nn.ModuleDict(projections), nn.ModuleList(ops)

    def forward(self, x: Tensor) -> Tensor:
        values, last = [x], self.cell.nodes - 1
        for node in range(1, last + 1):
            inner = [values[source][:, : self.width[node]] for source in self.cell.sources(node) if source]
            if node == last and len(inner) > 1:
                inner = [torch.cat(inner, 1)]
            if str(node) in self.projections:
                inner.append(self.projections[str(node)](x))
            total = functools.reduce(operator.add, inner)
            values.append(total if node == last else self.ops[node - 1](total))
        return values[-1]


class Wiring(Hole):
    """What a cell of so many nodes asks. Its layers are of `parts`, which its place holds for cells of any size."""

    def __init__(self, nodes: int, parts: Parts):
        super().__init__(*decisions(nodes))
        self.nodes, self._held = nodes, (parts,)  # not registered here, so that files have them once

    def _built(self, answers: Mapping[str, Value]) -> Module:
        return self._held[0].built(cell_of({NODES: self.nodes, **answers}))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self._built(self.answers())(x)
        return found

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        with torch.enable_grad():  # else a view would not say whether it is trained
            built = self._built(answers)
        for module in built.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    module._parameters[name] = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else buffer.clone()
        built.training = self.training
        return built


class Place(Asking):
    """Where a cell is: of how many nodes, and those as its `Wiring` has it. Keeps the side, makes `c_out` channels."""

    def __init__(self, c_in: int, c_out: int, nodes: Sequence[int]):
        super().__init__(Decision(NODES, tuple(nodes)))
        self.parts = Parts(c_in, c_out, max(nodes))
        self.wirings = nn.ModuleDict({str(n): Wiring(n, self.parts) for n in nodes})

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.wirings[str(self.answers()[NODES])](x)
        return found

    def kept(self, value: Value) -> list[nn.Module]:
        return [self.wirings[str(value)], self.parts]

    def decided(self, value: Value) -> nn.Module:
        return self.wirings[str(value)]


def nas_bench_101(
    channels: Positive = 128,
    cells: Positive = 3,
    nodes: Sequence[int] = tuple(range(2, MOST_NODES + 1)),
    classes: int = 10,
    image_channels: int = 3,
) -> Space:
    """Stem, three stacks of `cells` cells at 1, 2 and 4 times `channels`, head; x is (batch, image_channels, h, w).

    423,624 cells of up to seven nodes and nine edges. Decisions "cell/nodes", "cell/2/input" ..., "cell/1/op" ..., and
    "cell/7/edges", shared by all cells: `spaces.nb101_cells`. Whatever they answer is a cell, most cells have several
    answers, and `nb101_cells.identity` tells equal ones. `nodes` are what "cell/nodes" may be, before those that no way
    passes are left out. In a supernet a node has one convolution of each kernel, and narrower cells take its first
    channels (ours: the benchmark trains each cell by itself). ValueError on sizes below 1 and on other `nodes`.
    """
    positive(channels=channels, cells=cells, classes=classes, image_channels=image_channels)
    if not set(taken := sizes("nodes", nodes)) <= set(range(2, MOST_NODES + 1)):
        raise ValueError(f"nodes takes numbers from 2 to {MOST_NODES}, the input and the output counted, not {nodes!r}")
    layers: list[nn.Module] = [layer(image_channels, channels, 3)]
    width = channels
    for stack in range(STACKS):
        if stack:
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
        for _ in range(cells):
            c_in, width = width, channels * 2**stack
            layers.append(Place(c_in, width, taken))
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
    space = Space(nn.Sequential(*layers, *head))
    space.represent = represent
    return space
