"""The multi-branch spaces of NSE (Ci et al. 2021, arXiv:2011.10904), as in the authors' code."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.options import Positive, Rate
from winnow.core.space import Space
from winnow.holes.branches import Branches
from winnow.spaces.ofa import to_eight
from winnow.spaces.options import positive

HEAD, HALVINGS = 1024, 5  # the stem halves the image, and four of the stages
LISTED = 2**63  # subsets of a cell that can be numbered


@dataclass(frozen=True)
class Operation:
    """`kind`: "lb" expands, filters each channel and projects; "rec" filters by a row and a column, "nc" by a 3 x 3 and
    "dc" by two. `ratio` is the expansion, `groups` those of the pointwise convolutions.
    """

    kind: str
    kernel: int
    ratio: int
    dilation: int = 1
    groups: tuple[int, int] = (1, 1)

    @property
    def name(self) -> str:
        apart = f"_d{self.dilation}" if self.dilation > 1 else ""
        grouped = "_g{}{}".format(*self.groups) if self.groups != (1, 1) else ""
        return f"{self.kind}{self.kernel}_t{self.ratio}{apart}{grouped}"


RATIOS = (1, 3, 6)
REC = [Operation("rec", k, t) for k in (5, 7) for t in (1, 2, 4)]
MACS = [
    *(Operation("lb", 3, t, dilation) for t in RATIOS for dilation in (1, 2, 3)),
    *(Operation("lb", k, t) for k in (5, 7, 9, 11) for t in RATIOS),
    *REC,
]
GROUPED = [Operation("lb", k, t, groups=g) for k in (3, 5, 7, 9, 11) for t in RATIOS for g in ((1, 2), (2, 1), (2, 2))]
LATENCY = [
    *(Operation("lb", k, t) for k in (3, 5, 7) for t in RATIOS),
    *(Operation(kind, 3, t) for kind in ("nc", "dc") for t in (1, 2)),
    *REC,
]
SETS = {"macs": MACS, "grouped": [*MACS, *GROUPED], "latency": LATENCY}  # in the authors' order: 27, 72 and 19
KNOWN = {each.name: each for every in SETS.values() for each in every}


@dataclass(frozen=True)
class Skeleton:
    """Per stage its channels, the stride of the cell that leads to it (none to the first), and its further cells."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    cells: tuple[int, ...]


SKELETONS = {
    "macs": Skeleton((16, 24, 40, 80, 96, 192, 320), (0, 2, 2, 2, 1, 2, 1), (1, 3, 3, 3, 3, 3, 0)),
    "latency": Skeleton((16, 32, 64, 128, 256), (0, 2, 2, 2, 2), (1, 3, 3, 7, 3)),
}


def multibranch(
    skeleton: Literal["macs", "latency"] = "macs",
    operations: str | Sequence[str] | None = None,
    branches: Positive = 6,
    cells: Sequence[int] | None = None,
    width: Rate = 1.0,
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
) -> Space:
    """A stem, cells of which each is the mean of up to `branches` operations, a head; x is (batch, channels, h, w).

    Decisions "stage1/cell1" ...; the first cell of a later stage widens and may halve the image, and has one branch or
    more. In all others the input is a branch too, and none beside it need be on. `operations` are names, "macs" (27,
    usual in the skeleton of that name), "grouped" (these and 45 more) or "latency" (19). `cells` are those of each
    stage beside the first one of later stages: 22 cells in all, or 21. `width` multiplies all channels but the first.

    The published search has no bound on `branches` but five or six live operations a cell. It halves the image five
    times; a smaller `image_size`, a side or (height, width), skips the earliest halvings so that at least 4 x 4 remain.
    Convolutions begin as N(0, 2 / fan out). ValueError where an option cannot be built.
    """
    side = min(image_size) if isinstance(image_size, tuple | list) else image_size
    positive(classes=classes, image_channels=image_channels, image_size=side, branches=branches)
    if side < 8:
        raise ValueError(f"image_size takes 8 or more, not {image_size}")
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width takes a positive number, not {width!r}")
    if skeleton not in SKELETONS:
        raise ValueError(f"skeleton takes macs or latency, not {skeleton!r}")
    plan, chosen = SKELETONS[skeleton], _chosen(skeleton if operations is None else operations)
    if sum(math.comb(len(chosen), n) for n in range(min(branches, len(chosen)) + 1)) >= LISTED:
        raise ValueError(
            f"branches takes fewer than {branches} of {len(chosen)} operations: their subsets have no number"
        )
    counts = plan.cells if cells is None else _counts(cells, plan)
    halvings = iter([1] * (HALVINGS - min(HALVINGS, (side // 4).bit_length() - 1)) + [2] * HALVINGS)

    c_last = plan.channels[0]
    layers: list[nn.Module] = [*_layer(image_channels, c_last, 3, next(halvings)), nn.ReLU()]
    for stage, (channels, stride, further) in enumerate(zip(plan.channels, plan.strides, counts, strict=True), 1):
        c_out = to_eight(channels * width) if stride else c_last
        for number in range(1, further + bool(stride) + 1):
            first = bool(stride) and number == 1
            step = next(halvings) if first and stride == 2 else 1
            candidates = {each.name: branch(each, c_last, c_out, step) for each in chosen}
            passing = c_last == c_out and not first
            layers.append(Branches(f"stage{stage}/cell{number}", candidates, branches, passing))
            c_last = c_out
    head = [nn.Conv2d(c_last, HEAD, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = AsPublished(*layers, *head, nn.Linear(HEAD, classes))
    network.reset_parameters()
    return Space(network)


def branch(op: Operation, c_in: int, c_out: int, stride: int) -> nn.Module:
    """An operation without a residual of its own and without a ReLU at its end."""
    middle, k = c_in * op.ratio, op.kernel
    one, two = op.groups
    if op.kind == "lb":
        filters = [*_layer(middle, middle, k, stride, groups=middle, dilation=op.dilation)]
    elif op.kind == "rec":
        row = nn.Conv2d(middle, middle, (1, k), (1, stride), (0, k // 2), bias=False)
        column = nn.Conv2d(middle, middle, (k, 1), (stride, 1), (k // 2, 0), bias=False)
        filters = [row, nn.BatchNorm2d(middle), nn.ReLU(), column, nn.BatchNorm2d(middle)]
    elif op.kind == "nc":
        filters = [*_layer(middle, middle, k, stride)]
    else:
        filters = [*_layer(middle, middle, k, 1), nn.ReLU(), *_layer(middle, middle, k, stride)]
    return nn.Sequential(
        *_layer(c_in, middle, 1, 1, groups=one),
        nn.ReLU(),
        *filters,
        nn.ReLU(),
        *_layer(middle, c_out, 1, 1, groups=two),
    )


def _layer(c_in: int, c_out: int, kernel: int, stride: int, groups: int = 1, dilation: int = 1) -> list[nn.Module]:
    edge = dilation * (kernel // 2)
    conv = nn.Conv2d(c_in, c_out, kernel, stride, edge, dilation, groups, bias=False)
    return [conv, nn.BatchNorm2d(c_out)]


class AsPublished(nn.Sequential):
    """A chain whose convolutions begin as N(0, 2 / fan out), all else as torch has it."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")


def _chosen(given: str | Sequence[str]) -> list[Operation]:
    if isinstance(given, str):
        if given not in SETS:
            raise ValueError(f"operations takes {', '.join(SETS)}, or a list of names, not {given!r}")
        return SETS[given]
    if unknown := [name for name in given if name not in KNOWN]:
        raise ValueError(f"there is no operation {unknown[0]!r}: known are {', '.join(KNOWN)}")
    if not given or len(set(given)) < len(given):
        raise ValueError(f"operations takes different names, one or more, not {list(given)!r}")
    return [KNOWN[name] for name in given]


def _counts(given: Sequence[int], plan: Skeleton) -> tuple[int, ...]:
    whole = isinstance(given, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in given)
    if not whole or len(given) != len(plan.cells) or min(given) < 0:
        raise ValueError(f"cells takes {len(plan.cells)} whole numbers from 0, one a stage, not {given!r}")
    return tuple(given)


def from_lists(numbers: Sequence[Sequence[int]], counts: Sequence[int], skeleton: str, operations: str) -> Architecture:
    """A network in the authors' notation: the operations of each cell that has some, and how many there are of these
    in a stage beside its first one. The others are empty. Refused where the two do not fit.
    """
    plan, names = SKELETONS[skeleton], [op.name for op in SETS[operations]]
    given, answers = iter(numbers), dict[str, Value]()
    counts = [*counts, *[0] * (len(plan.cells) - len(counts))]
    if len(numbers) != sum(counts) + len(plan.cells) - 1:
        raise Refused(f"{len(numbers)} cells of operations, where {sum(counts) + len(plan.cells) - 1} are not empty")
    for stage, (stride, further, count) in enumerate(zip(plan.strides, plan.cells, counts, strict=True), 1):
        for number in range(1, further + bool(stride) + 1):
            full = number <= count + bool(stride)
            answers[f"stage{stage}/cell{number}"] = tuple(names[i] for i in sorted(next(given))) if full else ()
    return Architecture.of(answers)
