"""The cells of UNAS: a node chooses two (input, operation) pairs (Vahdat et al. 2020, arXiv:1912.07651)."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
import torch.nn as nn
from annotated_types import Ge
from torch import Tensor

from winnow.core.holes import NUMBER, Choice
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.holes.mixing import counting, differing, mixing
from winnow.nn import mixture
from winnow.nn.ops import darts_op, pool
from winnow.spaces.darts import NODES, Edge, entries, network
from winnow.spaces.options import positive

OPS = (
    "skip_connect",
    "sep_conv_3x3",
    "max_pool_3x3",
    "dil_conv_3x3",
    "sep_conv_5x5",
    "avg_pool_3x3",
    "sep_conv_7x7",
)
CANDIDATES = {"cifar": OPS, "imagenet": OPS[:5]}
PAIRS = ("a", "b")
Shares = dict[int, dict[str, Tensor]]  # by source and option: the weight of that candidate in a node, () or (batch,)


def _op(name: str, channels: int, stride: int, final: bool) -> nn.Module:
    """As of DARTS, but that pools stand alone while searching too."""
    if name.endswith("_pool_3x3") and not final:
        return pool(name[:3], stride)
    return darts_op(name, channels, stride, final)


class Cell(nn.Module):
    """Takes the outputs of the two cells before, returns four concatenated nodes: 4 x `channels`.

    Node i is the sum of its pairs, op_a(state[input_a]) + op_b(state[input_b]). Both choose among the same modules, so
    that a pair chosen twice is one module whose output counts twice.
    """

    def __init__(
        self, c_before: int, c_last: int, channels: int, kind: str, before_larger: bool, ops: Iterable[str], final: bool
    ):
        super().__init__()
        self.preprocess0, self.preprocess1 = entries(c_before, c_last, channels, before_larger, final)
        self.stride = 2 if kind == "reduce" else 1
        self.nodes = nn.ModuleList()  # both pairs of the first node, of the second, ...
        for node in NODES:
            made = [
                {op: _op(op, channels, self.stride if source < 2 else 1, final) for op in ops} for source in range(node)
            ]
            for pair in PAIRS:
                name = f"{kind}/{node}/{pair}"
                edges = {source: Edge(source, Choice(f"{name}/op", made[source])) for source in range(node)}
                self.nodes.append(Choice(f"{name}/input", edges))

    def forward(self, before: Tensor, last: Tensor) -> Tensor:
        states = [self.preprocess0(before), self.preprocess1(last)]
        if mixing(self.nodes):
            return torch.cat(self._mixed(*states), dim=1)
        own = differing(self.nodes)
        for i in range(len(NODES)):
            a, b = self.nodes[2 * i], self.nodes[2 * i + 1]
            states.append(self._differing(i, states) if own else a(*states) + b(*states))
        return torch.cat(states[2:], dim=1)

    def _mixed(self, *inputs: Tensor) -> list[Tensor]:
        """The same nodes for a mixture, source by source: see `winnow.nn.mixture`."""
        shares = [self._shares(i, inputs[0].device) for i in range(len(NODES))]

        def edge(i: int, source: int) -> mixture.Edge | None:
            return (self._candidates(i, source), shares[i][source]) if source in shares[i] else None

        return mixture.mixed_nodes(inputs, NODES, edge, self._zeros)

    def _differing(self, i: int, states: list[Tensor]) -> Tensor:
        """Node i where each example has its own weights: each candidate is computed once for both pairs."""
        total: Tensor | None = None
        for source, weights in self._shares(i, states[0].device).items():
            candidates = self._candidates(i, source)
            for option, weight in weights.items():
                term = weight.view(-1, 1, 1, 1) * candidates[option](states[source])
                total = term if total is None else total + term
        return self._zeros(states[0]) if total is None else total

    def _shares(self, i: int, device: torch.device) -> Shares:
        """W[source, option] = the sum over pairs of input weight x operation weight; numbers where they are added."""
        found: Shares = {}
        pairs: Any = self.nodes[2 * i : 2 * i + 2]
        for pair in pairs:
            inputs = counting(pair, device)
            number = inputs.pop(NUMBER, None)
            for source, share in inputs.items():
                into = found.setdefault(int(source), {})
                for option, weight in counting(pair.candidates[source].op, device).items():
                    product = share * weight
                    into[option] = into[option] + product if option in into else product
            if number is not None:
                into[NUMBER] = into[NUMBER] + number if NUMBER in into else number
        return found

    def _candidates(self, i: int, source: int) -> nn.ModuleDict:
        pair: Any = self.nodes[2 * i]
        candidates: nn.ModuleDict = pair.candidates[str(source)].op.candidates
        return candidates

    def _zeros(self, x: Tensor) -> Tensor:
        strided = x[:, :, :: self.stride, :: self.stride]
        return torch.zeros_like(strided, memory_format=torch.channels_last)


def factorised(
    channels: Positive = 16,
    layers: Annotated[int, Ge(3)] = 8,
    classes: int = 10,
    image_channels: int = 3,
    candidates: Literal["cifar", "imagenet"] = "cifar",
    stem: Literal["cifar", "imagenet"] = "cifar",
    final: bool = False,
    auxiliary: bool = False,
) -> Space:
    """`layers` cells, those at a third and two thirds reducing; x is (batch, image_channels, h, w).

    A node has decisions "normal/2/a/input", "normal/2/a/op" and the same of its pair "b": an input may be taken twice.
    `candidates` are the seven operations of "cifar" or the first five of them, "imagenet". Otherwise as `darts`.
    ValueError on sizes, candidates and stems that do not exist.
    """
    positive(channels=channels, layers=layers, classes=classes, image_channels=image_channels)
    if candidates not in CANDIDATES:
        raise ValueError(f"candidates takes one of {', '.join(CANDIDATES)}, not {candidates!r}")
    ops = CANDIDATES[candidates]

    def cell(c_before: int, c_last: int, channels: int, kind: str, before_larger: bool) -> Cell:
        return Cell(c_before, c_last, channels, kind, before_larger, ops, final)

    return Space(network(cell, channels, layers, classes, image_channels, stem, auxiliary))


def twins(space: Space) -> list[tuple[str, str]]:
    """Names of the pairs of each node, "normal/2/a" and "normal/2/b"; none in a space whose nodes have no pairs."""
    first, second = PAIRS
    nodes = [name.removesuffix(f"/{first}/input") for name in space.decisions if name.endswith(f"/{first}/input")]
    return [(f"{node}/{first}", f"{node}/{second}") for node in nodes]
