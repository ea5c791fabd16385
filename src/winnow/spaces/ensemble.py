"""Ensembles that share their first layers (NEAS, Chen et al. 2021, arXiv:2104.00597)."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.options import Positive, Rate
from winnow.core.space import Space
from winnow.holes.split import Split
from winnow.nn.blocks import conv_norm
from winnow.spaces.cream import CANDIDATES, AsPublished, bottleneck, separable
from winnow.spaces.macro import STAGES as OF_MACRO
from winnow.spaces.macro import parts
from winnow.spaces.ofa import to_eight
from winnow.spaces.options import positive

STAGES = ((24, 2), (40, 2), (80, 2), (112, 1), (160, 2))  # output channels, first stride; four layers each
LAYERS, STEM, LAST, HEAD = 4, 16, 960, 1280
HALVINGS = 5  # the stem, and four of the stages
SKIP = "skip"

Candidates = dict[str, nn.Module]


@dataclass(frozen=True)
class Backbone:
    """A chain: `candidates(i)` are new ones of layer i, from 0, `heads()` the parts of a new head: one that members
    may share, and one of their own.
    """

    stem: nn.Module
    layers: int
    splits: tuple[int, ...]
    candidates: Callable[[int], Candidates]
    heads: Callable[[], tuple[nn.Module, nn.Module]]


def ensemble(
    members: Positive = 2,
    backbone: Literal["neas", "macro"] = "neas",
    splits: Sequence[int] | None = None,
    width: Rate = 1.0,
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
    final: bool = False,
) -> Space:
    """A stem, layers that `members` share up to a split, layers of their own, heads; x is (batch, channels, h, w).

    Decisions "split", "layer1/shared" ... and, after the split, "layer20/member1" ... Layers of `backbone` "neas" take
    one of the six blocks of Cream, or none but for the first of a stage; there are 20, and `splits` are 8, 12, 16 and
    20, the ends of stages. "macro" are the eight layers of NAS-Bench-Macro, which split after 2, 5 or 8. While
    searching, a candidate is one for all members and for what they share, and so is the first convolution of the
    heads; in the `final` form members are of their own. One member is a chain without a split, "layer1/shared" ...

    In training it returns what each member says, else the mean. `width` multiplies channels, but not those of NEAS'
    heads. The published network halves the image five times; a smaller `image_size`, a side or (height, width), skips
    the earliest halvings so that at least 4 x 4 remain. ValueError where an option cannot be built.
    """
    side = min(image_size) if isinstance(image_size, tuple | list) else image_size
    positive(members=members, classes=classes, image_channels=image_channels, image_size=side)
    if not isinstance(width, int | float) or not 0 < width < math.inf:
        raise ValueError(f"width takes a positive number, not {width!r}")
    if backbone not in ("neas", "macro"):
        raise ValueError(f"backbone takes neas or macro, not {backbone!r}")
    if backbone == "macro":
        chain = _macro(width, classes, image_channels)
    else:
        chain = _neas(width, side, classes, image_channels)
    at = chain.splits if splits is None else _splits(splits, chain.layers)
    once = [chain.candidates(i) for i in range(chain.layers)]

    def layers(role: str) -> list[nn.Module]:
        fresh = final and role != "shared"
        each = [chain.candidates(i) for i in range(chain.layers)] if fresh else once
        return [Choice(f"layer{i}/{role}", candidates) for i, candidates in enumerate(each, 1)]

    pairs = [chain.heads() for _ in range(members)]
    heads = [nn.Sequential(own if final else pairs[0][0], last) for own, last in pairs]
    rest: list[nn.Module] = [*layers("shared"), heads[0]]
    if members > 1:
        each = [layers(f"member{number}") for number in range(1, members + 1)]
        rest = [Split("split", at, rest[:-1], each, heads)]
    if backbone == "macro":
        return Space(nn.Sequential(chain.stem, *rest))
    network = AsPublished(chain.stem, *rest)
    network.reset_parameters()
    return Space(network)


def _splits(given: Sequence[int], layers: int) -> tuple[int, ...]:
    whole = isinstance(given, list | tuple) and all(isinstance(n, int) and not isinstance(n, bool) for n in given)
    if not whole or not given or len(set(given)) < len(given) or not all(0 <= n <= layers for n in given):
        raise ValueError(f"splits takes a list of different whole numbers from 0 to {layers}, not {given!r}")
    return tuple(sorted(given))


def _neas(width: float, side: int, classes: int, image_channels: int) -> Backbone:
    if side < 8:
        raise ValueError(f"image_size takes 8 or more, not {side}")
    halvings = iter([1] * (HALVINGS - min(HALVINGS, (side // 4).bit_length() - 1)) + [2] * HALVINGS)
    stem = to_eight(STEM * width)
    begin = nn.Sequential(*conv_norm(image_channels, stem, 3, next(halvings)), nn.SiLU(), separable(stem))
    shapes, c_last = [], stem
    for channels, stride in STAGES:
        for number in range(LAYERS):
            c_out = to_eight(channels * width)
            shapes.append((c_last, c_out, next(halvings) if number == 0 and stride == 2 else 1))
            c_last = c_out

    def candidates(layer: int) -> Candidates:
        c_in, c_out, stride = shapes[layer]
        blocks = {name: bottleneck(c_in, c_out, *each, stride) for name, each in CANDIDATES.items()}
        return {SKIP: nn.Identity(), **blocks} if layer % LAYERS else blocks

    def heads() -> tuple[nn.Module, nn.Module]:
        end = [nn.AdaptiveAvgPool2d(1), nn.Conv2d(LAST, HEAD, 1), nn.SiLU(), nn.Flatten(), nn.Dropout(0.2)]
        wide = nn.Sequential(*conv_norm(c_last, LAST, 1, 1), nn.SiLU())
        return wide, nn.Sequential(*end, nn.Linear(HEAD, classes))

    layers = len(shapes)
    return Backbone(begin, layers, tuple(range(2 * LAYERS, layers + 1, LAYERS)), candidates, heads)


def _macro(width: float, classes: int, image_channels: int) -> Backbone:
    stem, blocks, _ = parts(width, classes, image_channels)
    ends = tuple(itertools.accumulate(OF_MACRO))
    return Backbone(
        stem,
        len(blocks),
        ends,
        lambda layer: parts(width, classes, image_channels)[1][layer],
        lambda: (nn.Identity(), parts(width, classes, image_channels)[2]),
    )


def suffixes(arch: Mapping[str, Value]) -> list[tuple[Value, ...]]:
    """What each member of an ensemble does after the split, layer by layer; none where there are no members."""
    found: dict[str, list[tuple[int, Value]]] = {}
    for name, value in arch.items():
        layer, _, role = name.partition("/")
        if layer.startswith("layer") and role.startswith("member"):
            found.setdefault(role, []).append((int(layer.removeprefix("layer")), value))
    return [tuple(value for _, value in sorted(found[role])) for role in sorted(found)]


def to_list(arch: Mapping[str, Value], members: int = 2) -> list[int]:
    """The authors' own notation: the split, how many members, the shared layers and each member's, with fixed ends.

    `members`, as an architecture that shares all layers does not say it.
    """
    ops = [SKIP, *CANDIDATES]
    at = arch["split"]
    assert isinstance(at, int)
    shared = [ops.index(str(arch[f"layer{i}/shared"])) - 1 for i in range(1, at + 1)]
    tails = [[ops.index(str(op)) - 1 for op in tail] for tail in suffixes(arch)] or [[]] * members
    return [at, len(tails), 0, *shared, *(number for tail in tails for number in (*tail, 0))]


def from_list(numbers: Sequence[int]) -> Architecture:
    """The inverse of `to_list`. Refused where the list is none of an ensemble of 20 layers."""
    layers, ops = len(STAGES) * LAYERS, [SKIP, *CANDIDATES]
    at, members = (numbers[0], numbers[1]) if len(numbers) > 2 else (-1, 0)
    size = 2 + (at + 1) + members * (layers - at + 1)
    if not 0 <= at <= layers or len(numbers) != size or not set(numbers[2:]) <= set(range(-1, len(CANDIDATES))):
        raise Refused(
            f"an ensemble of {layers} layers is a list of the split, the number of members, and -1 to 5 for each layer "
            f"and for the fixed ends, {size} numbers here: not the {len(numbers)} of {list(numbers)!r:.80}"
        )
    answers: dict[str, Value] = {"split": at}
    answers |= {f"layer{i}/shared": ops[number + 1] for i, number in enumerate(numbers[3 : 3 + at], 1)}
    for member in range(members):
        begin = 3 + at + member * (layers - at + 1)
        tail = numbers[begin : begin + layers - at]
        answers |= {f"layer{i}/member{member + 1}": ops[number + 1] for i, number in enumerate(tail, at + 1)}
    return Architecture.of(answers)
