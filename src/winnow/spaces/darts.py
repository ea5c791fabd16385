"""The DARTS space: a normal and a reduction cell (Liu et al. 2019, arXiv:1806.09055), and S1-S4 of Zela et al. 2020."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, cast

import torch
import torch.nn as nn
from annotated_types import Ge
from torch import Tensor

from winnow.core.holes import Choice
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.holes.mixing import counting, mixing
from winnow.nn import mixture
from winnow.nn.blocks import AuxiliaryHead
from winnow.nn.ops import FactorizedReduce, darts_op, relu_conv_bn
from winnow.spaces.options import positive

OPS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
_ABBREVIATED = {
    "sk": "skip_connect",
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
    "s3": "sep_conv_3x3",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
}
_S1 = {  # two candidates an edge, edges in the order of nodes and, inside a node, of sources
    "normal": "sk/d3 sk/d5 sk/d5 sk/s3 sk/d3 mp/sk sk/s3 sk/s3 sk/d3 sk/s3 mp/sk sk/d3 d3/d5 d3/d5",
    "reduce": "mp/ap mp/d3 mp/ap mp/ap sk/d5 mp/ap mp/s3 sk/d3 sk/d5 mp/ap mp/ap sk/d5 sk/d5 sk/d5",
}
_UNIFORM = {
    "darts": OPS,
    "s2": ("skip_connect", "sep_conv_3x3"),
    "s3": ("none", "skip_connect", "sep_conv_3x3"),
    "s4": ("noise", "sep_conv_3x3"),
}
CANDIDATES = ("darts", "s1", "s2", "s3", "s4")
STEMS = ("cifar", "imagenet")
NODES = (2, 3, 4, 5)  # nodes 0 and 1 are the outputs of the two cells before


def edge_ops(kind: str, edge: int, candidates: str, none: bool) -> tuple[str, ...]:
    """The candidates of the `edge`-th edge (0-13) of a "normal" or "reduce" cell."""
    if candidates == "s1":
        return tuple(_ABBREVIATED[short] for short in _S1[kind].split()[edge].split("/"))
    ops = _UNIFORM[candidates]
    return ops if none else tuple(op for op in ops if op != "none")


class Edge(nn.Module):
    """Applies `op` to one of the states of a cell."""

    def __init__(self, source: int, op: nn.Module):
        super().__init__()
        self.source, self.op = source, op

    def forward(self, *states: Tensor) -> Tensor:
        return self.op(states[self.source])


def entries(c_before: int, c_last: int, channels: int, before_larger: bool, final: bool) -> tuple[nn.Module, nn.Module]:
    """What makes maps of one shape of the outputs of the two cells before."""
    if before_larger:
        first: nn.Module = FactorizedReduce(c_before, channels, final)
    else:
        first = relu_conv_bn(c_before, channels, 1, 1, final)
    return first, relu_conv_bn(c_last, channels, 1, 1, final)


class Cell(nn.Module):
    """Takes the outputs of the two cells before, returns four concatenated nodes: 4 x `channels`."""

    def __init__(
        self, c_before: int, c_last: int, channels: int, kind: str, before_larger: bool, ops: dict, final: bool
    ):
        super().__init__()
        self.preprocess0, self.preprocess1 = entries(c_before, c_last, channels, before_larger, final)
        self.stride = 2 if kind == "reduce" else 1

        def edge(node: int, source: int) -> Edge:
            stride = self.stride if source < 2 else 1
            candidates = {op: darts_op(op, channels, stride, final) for op in ops[kind, node, source]}
            only_mixed = ("none",) if "none" in candidates else ()
            return Edge(source, Choice(f"{kind}/{node}/{source}", candidates, mixture_only=only_mixed))

        self.nodes = nn.ModuleList(
            Choice(f"{kind}/{node}", {source: edge(node, source) for source in range(node)}, pick=2) for node in NODES
        )

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(last)]
        if mixing(self.nodes):
            return torch.cat(self._mixed(*states), dim=1)
        for node in self.nodes:
            states.append(node(*states))
        return torch.cat(states[2:], dim=1)

    def _mixed(self, *inputs: Tensor) -> list[Tensor]:
        """The same nodes for a mixture, source by source: see `winnow.nn.mixture`."""
        kept = [counting(node, inputs[0].device) for node in cast(Iterable[Choice], self.nodes)]

        def edge(i: int, source: int) -> mixture.Edge | None:
            return self._edge(i, source, kept[i][str(source)]) if str(source) in kept[i] else None

        return mixture.mixed_nodes(inputs, NODES, edge, self._zeros)

    def _edge(self, i: int, source: int, share: Tensor) -> tuple[nn.ModuleDict, dict[str, Tensor]]:
        node: Any = self.nodes[i]
        choice = node.candidates[str(source)].op
        weights = counting(choice, share.device)
        if not isinstance(node.posted(node.decision), tuple):  # mixed nodes of mixed edges
            weights = {option: share * weight for option, weight in weights.items()}
        return choice.candidates, weights

    def _zeros(self, x: Tensor) -> Tensor:
        strided = x[:, :, :: self.stride, :: self.stride]
        return torch.zeros_like(strided, memory_format=torch.channels_last)


class Network(nn.Module):
    """Stem, cells, head. In training, with an auxiliary head, returns (logits, auxiliary logits)."""

    def __init__(
        self,
        stem: nn.Module,
        deeper: nn.Module,  # makes the second input of the first cell of the first
        cells: list[nn.Module],
        head: nn.Module,
        auxiliary: nn.Module | None,
        at: int,
    ):
        super().__init__()
        self.stem, self.deeper, self.cells, self.head = stem, deeper, nn.ModuleList(cells), head
        self.auxiliary, self.auxiliary_at = auxiliary, at

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        first: Any = self.cells[0]
        if mixing(first.nodes):
            x = x.contiguous(memory_format=torch.channels_last)
        before = self.stem(x)
        last, second = self.deeper(before), None
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last)
            if self.auxiliary is not None and self.training and i == self.auxiliary_at:
                second = self.auxiliary(last)
        logits = self.head(last)
        return logits if second is None else (logits, second)


def stem_of(kind: str, image_channels: int, channels: int) -> tuple[nn.Module, nn.Module, int]:
    """The modules that make both inputs of the first cell, the second of the first, and the channels of each.

    "cifar" keeps the side and gives one map twice; "imagenet" halves it three times, the last time between them.
    """
    if kind == "cifar":
        wide = 3 * channels
        return nn.Sequential(_conv(image_channels, wide, 1), nn.BatchNorm2d(wide)), nn.Identity(), wide
    half = channels // 2
    stem = nn.Sequential(
        _conv(image_channels, half, 2),
        nn.BatchNorm2d(half),
        nn.ReLU(),
        _conv(half, channels, 2),
        nn.BatchNorm2d(channels),
    )
    return stem, nn.Sequential(nn.ReLU(), _conv(channels, channels, 2), nn.BatchNorm2d(channels)), channels


def _conv(c_in: int, c_out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)


def darts(
    channels: Positive = 16,
    layers: Annotated[int, Ge(3)] = 8,
    classes: int = 10,
    image_channels: int = 3,
    candidates: Literal["darts", "s1", "s2", "s3", "s4"] = "darts",
    none: bool = True,
    stem: Literal["cifar", "imagenet"] = "cifar",
    final: bool = False,
    auxiliary: bool = False,
) -> Space:
    """`layers` cells, those at a third and two thirds reducing; x is (batch, image_channels, h, w).

    `candidates` is "darts" (eight operations; seven without `none`) or one of the restricted sets "s1" to "s4". Edges
    are decisions "normal/2/0", nodes "normal/2" keep two of their edges; what one size found derives at any other.
    `stem` is "cifar", one convolution that keeps the side, or "imagenet", three that halve it (published: 14 layers of
    48 channels). `final` builds the retraining form: affine BatchNorm, bare pools, drop-path, and the `auxiliary` head
    if wanted, in the form published for that stem. ValueError on sizes, candidates and stems that do not exist.
    """
    positive(channels=channels, layers=layers, classes=classes, image_channels=image_channels)
    if candidates not in CANDIDATES:
        raise ValueError(f"candidates takes one of {', '.join(CANDIDATES)}, not {candidates!r}")
    pairs = [(node, source) for node in NODES for source in range(node)]
    ops = {
        (kind, node, source): edge_ops(kind, i, candidates, none)
        for kind in ("normal", "reduce")
        for i, (node, source) in enumerate(pairs)
    }

    def cell(c_before: int, c_last: int, channels: int, kind: str, before_larger: bool) -> Cell:
        return Cell(c_before, c_last, channels, kind, before_larger, ops, final)

    return Space(network(cell, channels, layers, classes, image_channels, stem, auxiliary))


def network(
    cell: Callable[[int, int, int, str, bool], nn.Module],
    channels: int,
    layers: int,
    classes: int,
    image_channels: int,
    stem: str,
    auxiliary: bool,
) -> Network:
    """`layers` cells as `cell(c_before, c_last, channels, kind, before_larger)` makes them, in the form of `darts`.

    ValueError on too few layers, and on stems that do not exist or have no room.
    """
    if stem not in STEMS:
        raise ValueError(f"stem takes one of {', '.join(STEMS)}, not {stem!r}")
    if stem == "imagenet" and channels < 2:
        raise ValueError(
            f"channels takes 2 or more where the stem is imagenet, whose first layer has half, not {channels}"
        )
    if layers < 3:
        raise ValueError(f"layers takes 3 or more, so that both reductions have a place, not {layers}")
    first, deeper, c_before = stem_of(stem, image_channels, channels)
    c_last = c_before
    cells: list[nn.Module] = []
    reductions = (layers // 3, 2 * layers // 3)
    before_larger = stem == "imagenet"
    for i in range(layers):
        kind = "reduce" if i in reductions else "normal"
        channels *= 2 if kind == "reduce" else 1
        cells.append(cell(c_before, c_last, channels, kind, before_larger))
        before_larger = kind == "reduce"
        c_before, c_last = c_last, len(NODES) * channels
        if i == reductions[1]:
            c_auxiliary = c_last
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_last, classes))
    second = AuxiliaryHead(c_auxiliary, classes, stem == "imagenet") if auxiliary else None
    return Network(first, deeper, cells, head, second, reductions[1])
