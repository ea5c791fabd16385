"""Networks that are chains of blocks as graphs: which block comes after which, and what each is in words."""

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from winnow.core.decision import Value
from winnow.core.graph import Edge, Graph
from winnow.spaces.cream import CANDIDATES
from winnow.spaces.cream import STAGES as CREAM
from winnow.spaces.descriptions import (
    NORMED,
    OPERATIONS,
    bottleneck,
    branch,
    placed,
    places,
    quantised,
    transformer,
)
from winnow.spaces.ensemble import LAYERS, SKIP
from winnow.spaces.ensemble import STAGES as NEAS
from winnow.spaces.macro import OPS as MACRO_OPS
from winnow.spaces.macro import STAGES as MACRO
from winnow.spaces.macro import STEM as MACRO_STEM
from winnow.spaces.mobile import STAGES as MOBILE
from winnow.spaces.multibranch import KNOWN, SKELETONS
from winnow.spaces.ofa import UNITS
from winnow.spaces.resnet import STEM as RESNET_STEM

Answers = Mapping[str, Value]
OF_FBNET = {*(f"k{k}_e{e}" for k in (3, 5) for e in (1, 3, 6)), "k3_e1_g2", "k5_e1_g2", "skip"}
OF_MEMBERS = {*CANDIDATES, *MACRO_OPS, SKIP}
SQUEEZED = f"squeeze and excitation, {NORMED}"
FBNET = ((16, 24, 32, 64, 112, 184, 352), (1, 2, 2, 2, 1, 2, 1), (1, 4, 4, 4, 4, 4, 1))  # Wu et al. 2019, table 1
MNAS = ((16, 24, 40, 80, 96, 192, 320), (1, 2, 2, 2, 1, 2, 1))  # Tan et al. 2019


class Block(NamedTuple):
    """`op`: the answers about it, without the block's name; `words`: what it computes and where, "" if nobody said."""

    op: str
    words: str


def in_a_row(names: Sequence[str], arch: Answers) -> dict[str, Graph]:
    """One block a decision, in the order of `names`; those that `arch` does not answer are passed over.

    With its names in place, `functools.partial(in_a_row, names)`, the `graphs` of a space of your own.
    """
    return chain(Block(str(arch[name]), "") for name in names if name in arch)


def chain(blocks: Iterable[Block]) -> dict[str, Graph]:
    """Each block fed by the one before."""
    ops, words = zip(*blocks, strict=True)
    return {"chain": Graph(tuple((i, i + 1, op) for i, op in enumerate(ops)), (0,), (len(ops),), words)}


def drawn(blocks: Callable[[Answers], Iterable[Block]]) -> Callable[[Answers], dict[str, Graph]]:
    """Blocks of an architecture as their chain."""

    @functools.wraps(blocks)
    def draw(arch: Answers) -> dict[str, Graph]:
        return chain(blocks(arch))

    return draw


def of_blocks(arch: Answers) -> dict[str, Graph]:
    """By the numbers in their names."""
    return in_a_row(_blocks(arch), arch)


@drawn
def of_mobile(arch: Answers) -> Iterator[Block]:
    counts, channels = zip(*MOBILE, strict=True)
    where = _each(places(channels, (2,) * len(channels)), counts)
    for name, there in zip(_blocks(arch), where, strict=True):
        op, share = str(arch[name]), arch.get(f"{name}/channels")
        opened = [] if share is None else [f"inner width {share} percent"]
        numbers = [] if share is None else [f"channels {share}"]
        yield Block(", ".join([op, *numbers]), ", ".join([OPERATIONS[op], *opened, there]))


@drawn
def of_macro(arch: Answers) -> Iterator[Block]:
    for i, (name, there) in enumerate(zip(_blocks(arch), _of_macro(), strict=True)):
        op = str(arch[name])
        yield Block(op, f"{_macro_words(op, i)}, {there}")


@drawn
def of_cream(arch: Answers) -> Iterator[Block]:
    where = places(*cast(Any, zip(*CREAM, strict=True)))
    for name in _blocks(arch):
        op, stage = str(arch[name]), _numbers(name)[0]
        yield Block(op, f"{bottleneck(*CANDIDATES[op], SQUEEZED)}, {where[stage - 1]}")


@drawn
def of_ofa(arch: Answers) -> Iterator[Block]:
    channels, strides, _, excite = cast(Any, zip(*UNITS, strict=True))
    where = places(channels, strides)
    for unit, there in enumerate(where, 1):
        for number in range(1, int(str(arch[f"unit{unit}/depth"])) + 1):
            kernel, ratio = (int(str(arch[f"unit{unit}/block{number}/{each}"])) for each in ("kernel", "ratio"))
            said = bottleneck(kernel, ratio, SQUEEZED if excite[unit - 1] else NORMED)
            yield Block(f"kernel {kernel}, ratio {ratio}", f"{said}, {there}")


@drawn
def of_resnet(arch: Answers) -> Iterator[Block]:
    where = places([RESNET_STEM * 2**i for i in range(4)], (1, 2, 2, 2), stem=4)
    for name in _blocks(arch):
        bits, stage = str(arch[name]), _numbers(name)[0]
        share = arch.get(f"{name.removesuffix('bits')}channels")
        opened = "" if share is None else f", inner width {share} percent"
        numbers = "" if share is None else f", channels {share}"
        yield Block(bits + numbers, f"{quantised(bits)}{opened}, {where[stage - 1]}")


@drawn
def of_vit(arch: Answers) -> Iterator[Block]:
    width = int(str(arch["embedding"]))
    yield Block(f"embedding {width}", f"patches, {width} channels")
    for i in range(1, int(str(arch["depth"])) + 1):
        heads, ratio = (int(str(arch[f"block{i}/{each}"])) for each in ("heads", "ratio"))
        yield Block(f"heads {heads}, ratio {ratio}", f"{transformer(heads, ratio / 100)}, {width} channels")


@drawn
def of_pit(arch: Answers) -> Iterator[Block]:
    """Of a table alone: three stages of attention, each at half the side of the one before (Heo et al. 2021)."""
    width = int(str(arch["width"]))
    for stage in range(3):

        def at(name: str, stage: int = stage) -> float:
            return float(arch.get(name, arch.get(f"{name}/{stage:02}")))  # type: ignore[arg-type]

        heads, ratio = int(at("num_heads")), at("mlp_ratio")
        there = placed(width * heads, 8 * 2**stage)
        for _ in range(int(at("depth"))):
            yield Block(f"heads {heads}, ratio {ratio:g}", f"{transformer(heads, ratio)}, {there}")


@drawn
def of_fbnet(arch: Answers) -> Iterator[Block]:
    """Of a table alone."""
    channels, strides, counts = FBNET
    where = _each(places(channels, strides), counts)
    for name, there in zip(_blocks(arch), where, strict=True):
        op = str(arch[name])
        yield Block(op, f"{OPERATIONS[op]}, {there}")


@drawn
def of_mnas(arch: Answers) -> Iterator[Block]:
    """Of a table alone (accel_nasbench): seven blocks of one to four like layers."""
    for i, there in enumerate(places(*MNAS)):
        names = ("expansion", "kernel", "layers", "excite")
        expansion, kernel, layers, excite = (int(str(arch[f"block{i}/{each}"])) for each in names)
        op = f"kernel {kernel}, expansion {expansion}, excite {excite}"
        said = bottleneck(kernel, expansion, SQUEEZED if excite else NORMED)
        for _ in range(layers):
            yield Block(op, f"{said}, {there}")


def of_ensemble(arch: Answers) -> dict[str, Graph]:
    """What members share, then a chain a member; their outputs are concatenated."""
    of_blocks = any(str(op) in CANDIDATES for op in arch.values())
    where = _each(places(*cast(Any, zip(*NEAS, strict=True))), (LAYERS,) * len(NEAS)) if of_blocks else _of_macro()
    edges, words, ends = list[Edge](), [], {0: 0}  # ends: of each member, 0 what they share
    layers = sorted((name for name in arch if name != "split"), key=lambda name: ("member" in name, _numbers(name)))
    for name in layers:
        layer, *member = _numbers(name)
        whose, op = (member[0] if member else 0), str(arch[name])
        node = layer + whose * len(where)
        edges.append((ends.get(whose, ends[0]), node, op))
        told = bottleneck(*CANDIDATES[op], SQUEEZED) if op in CANDIDATES else _macro_words(op, layer - 1)
        words.append(f"{told}, {where[layer - 1]}")
        ends[whose] = node
    outputs = [end for whose, end in ends.items() if whose] or [ends[0]]
    order = sorted(range(len(edges)), key=lambda i: edges[i][1])
    return {
        "chain": Graph(tuple(edges[i] for i in order), (0,), tuple(sorted(outputs)), tuple(words[i] for i in order))
    }


def of_multibranch(arch: Answers) -> dict[str, Graph]:
    """Of each cell its operations side by side, and the identity beside them where it is one of the branches."""
    names = _blocks(arch)
    plan = SKELETONS["macs" if max(_numbers(name)[0] for name in names) > 5 else "latency"]
    where = places(plan.channels, [stride or 1 for stride in plan.strides])
    edges, words = list[Edge](), []
    for i, name in enumerate(names):
        stage, number = _numbers(name)
        ops = arch[name]
        assert isinstance(ops, tuple)
        known = [KNOWN[str(op)] for op in ops]
        told = {op.name: branch(op.kind, op.kernel, op.ratio, op.dilation, math.prod(op.groups)) for op in known}
        if not plan.strides[stage - 1] or number > 1:  # the cell passes its input on
            told["identity"] = OPERATIONS["identity"]
        edges += [(i, i + 1, op) for op in told]
        words += [f"{said}, {where[stage - 1]}" for said in told.values()]
    return {"chain": Graph(tuple(edges), (0,), (len(names),), tuple(words))}


def _of_macro() -> list[str]:
    return _each(places([MACRO_STEM * 2 ** (i + 1) for i in range(3)], (2, 2, 2), stem=1), MACRO)


def _macro_words(op: str, layer: int) -> str:
    """The identity of a layer that changes the shape is a convolution."""
    changes = layer in itertools.accumulate(MACRO, initial=0)
    return OPERATIONS["nor_conv_1x1"] if op == "identity" and changes else OPERATIONS[op]


def _each(where: Sequence[str], counts: Sequence[int]) -> list[str]:
    return [there for there, count in zip(where, counts, strict=True) for _ in range(count)]


def _blocks(arch: Answers) -> list[str]:
    """The decisions that are blocks, in the order of their numbers."""
    return sorted((name for name in arch if not name.endswith("/channels")), key=_numbers)


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
