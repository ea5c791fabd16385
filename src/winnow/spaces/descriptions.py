"""What the operations of spaces compute, in words: what a predictor knows of one that it never saw (TG-NAS).

One line an operation, in the words that `predictors.words` understands; a space that you add has its lines here, one of
your own sets `space.descriptions`. Elastic blocks are put together of their numbers by the functions below. Channels
and the image's share are those of the published network: names of decisions do not depend on size.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from winnow.core.graph import Graph, NodeGraph
from winnow.holes.bits import pair

Cells = Mapping[str, Graph | NodeGraph]
NORMED = "batch normalisation, ReLU"


def bottleneck(kernel: int, expansion: int, also: str = NORMED) -> str:
    """Expand, filter each channel, project (Sandler et al. 2018)."""
    return f"bottleneck of expansion {expansion}, depthwise convolution {kernel} by {kernel}, {also}"


OPERATIONS: dict[str, str] = {
    # NAS-Bench-201, DARTS and factorised, NAS-Bench-101
    "none": "nothing",
    "noise": "noise",
    "skip_connect": "identity",
    "nor_conv_1x1": f"convolution 1 by 1, {NORMED}",
    "nor_conv_3x3": f"convolution 3 by 3, {NORMED}",
    "avg_pool_3x3": "average pooling 3 by 3",
    "max_pool_3x3": "maximum pooling 3 by 3",
    **{f"sep_conv_{k}x{k}": f"depthwise convolution {k} by {k}, 2 times, {NORMED}" for k in (3, 5, 7)},
    **{f"dil_conv_{k}x{k}": f"depthwise convolution {k} by {k}, dilation 2, {NORMED}" for k in (3, 5)},
    "conv1x1": f"convolution 1 by 1, {NORMED}",
    "conv3x3": f"convolution 3 by 3, {NORMED}",
    "maxpool3x3": "maximum pooling 3 by 3",
    # chains of blocks: mobile, macro, cream, ensemble, FBNet
    **{f"shuffle_{k}": f"depthwise convolution {k} by {k} on half of the channels, {NORMED}" for k in (3, 5, 7)},
    "xception": f"depthwise convolution 3 by 3 on half of the channels, 3 times, {NORMED}",
    "identity": "identity",
    "skip": "identity",
    "mb3_k3": bottleneck(3, 3),
    "mb6_k5": bottleneck(5, 6),
    **{f"k{k}_e{e}": bottleneck(k, e) for k in (3, 5, 7) for e in (1, 3, 4, 6)},
    **{f"k{k}_e1_g2": bottleneck(k, 1, f"2 groups, {NORMED}") for k in (3, 5)},
    # necks of detectors
    "top_down": "convolution 3 by 3, coarse to fine",
    "bottom_up": "convolution 3 by 3, fine to coarse",
    "fusing_splitting": "convolution 3 by 3, 2 times, coarse to fine, fine to coarse",
    "scale_equalising": "convolution 3 by 3, coarse to fine, fine to coarse",
}


def branch(kind: str, kernel: int, ratio: int, dilation: int, groups: int) -> str:
    """An operation of `spaces.multibranch`."""
    filters = {
        "lb": f"depthwise convolution {kernel} by {kernel}",
        "rec": f"convolution {kernel} by {kernel} of a row and a column",
        "nc": f"convolution {kernel} by {kernel}",
        "dc": f"convolution {kernel} by {kernel}, 2 times",
    }[kind]
    apart = f", dilation {dilation}" if dilation > 1 else ""
    grouped = f", {groups} groups" if groups > 1 else ""
    return f"bottleneck of expansion {ratio}, {filters}{apart}{grouped}, {NORMED}"


def quantised(bits: str) -> str:
    """A block of a residual network: "w2a4" are 2 bits a weight and 4 an activation."""
    weights, activations = pair(bits)
    number = f"weights of {weights} bits, activations of {activations} bits"
    return f"convolution 3 by 3, 2 times, {NORMED}, {number}"


def transformer(heads: int, ratio: float) -> str:
    """Attention, then an MLP of `ratio` times the width."""
    return f"attention of {heads} heads, MLP of ratio {ratio:g}"


def places(channels: Sequence[int], strides: Sequence[int], stem: int = 2) -> list[str]:
    """Where each stage stands: after a stem that halves the image (or, `stem` 1, does not)."""
    reductions = itertools.accumulate(strides, lambda reduction, stride: reduction * stride, initial=stem)
    return [placed(c, r) for c, r in zip(channels, itertools.islice(reductions, 1, None), strict=True)]


def placed(channels: int, reduction: int = 1) -> str:
    return f"{channels} channels at 1/{reduction} of the image"


def described(cells: Cells, own: Mapping[str, str] = {}) -> dict[str, Graph | NodeGraph]:
    """The cells with words: what they say themselves, else those of `own` or `OPERATIONS`, else none ("")."""
    known = {**OPERATIONS, **own}
    return {
        kind: replace(cell, words=tuple(known.get(op, "") for op in cell.ops)) if _silent(cell) else cell
        for kind, cell in cells.items()
    }


def _silent(cell: Graph | NodeGraph) -> bool:
    return not any(cell.words)
