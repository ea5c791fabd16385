"""Every space of the contract suite, small; imported by the tests and by a second process that compares digests."""

import functools
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.decision import Number
from winnow.core.holes import Choice
from winnow.core.replace import replace
from winnow.core.space import Space
from winnow.holes.depth import Depth
from winnow.holes.elastic import Conv, Linear, Norm
from winnow.spaces import build

CELLS = 180 * 7**8  # architectures of one DARTS cell: two of 2, 3, 4, 5 edges, seven operations each
RESTRICTED = 180 * 2**8
CREAM = {"layers": (2, 1, 1, 1, 1)}
TWO_CELLS = ({"channels": 2, "layers": 3}, {"channels": 3, "layers": 5, "final": True})
PAIR, MEMBERS = {"backbone": "macro"}, 3**2 * 9**6 + 3**5 * 9**3 + 3**8
NSE = {"operations": ["lb3_t1", "lb5_t3_g22", "rec5_t1"], "branches": 2, "cells": [1, 1, 0, 0, 0, 0, 0]}
NB101 = 120 * 81 * 1471 + 720 * 243 * 1351  # of six and seven nodes: inputs, operations, up to four and three edges
WIDTHS, BITS = {"channels": (20, 100, 160)}, {"bits": ("w1a1", "w32a2", "w32a32")}
BOXES = {"backbone": "macro", "options": {"width": 0.125}, "width": 8, "image_height": 16, "image_width": 16}
VIT = {"size": "micro", "heads": (1, 2), "ratios": (150, 200), "depths": (1, 2)}
OFA = {"kernels": (3, 5), "ratios": (2, 3), "depths": (1, 2)}


@dataclass(frozen=True)
class Case:
    small: Callable[[], Space]
    large: Callable[[], Space]  # the same decisions at another size
    count: int
    reached: int | None = None  # how many decisions an architecture answers, where that is always the same
    shape: tuple[int, ...] = (2, 8, 8)
    fields: int = 0  # how many of the inputs' columns are ids
    answers: tuple[int, ...] = (3,)  # the shape of what is returned of one input


def of(name: str, small: dict, large: dict, count: int, **fields) -> Case:
    facts = {"classes": 3, "image_channels": 2, "image_size": fields.get("shape", Case.shape)[-1]}
    facts |= {"image_height": facts["image_size"], "image_width": facts["image_size"]}
    facts |= {"fields": [("a", 6), ("b", 4), ("c", 9)], "dense": ["d"]}

    def sized(options: dict) -> Callable[[], Space]:
        return lambda: build(name, options, **facts)

    return Case(sized(small), sized(large), count, **fields)


def _darts(count: int, shape: tuple[int, ...] = Case.shape, **options) -> Case:
    small, large = {"channels": 2, "layers": 3, **options}, {"channels": 3, "layers": 5, "final": True, **options}
    return of("darts", small, large, count, reached=24, shape=shape)


def _table(count: int, **options) -> Case:
    """Three fields of categories and a column of numbers; the larger one knows more of each."""
    options = {"depths": [1, 2], "widths": [4], "layers": [1], "hidden": [5], **options}
    large = {**options, "fields": [("a", 16), ("b", 14), ("c", 19)]}
    return of("interactions", options, large, count, shape=(4,), fields=3)


def _fpn(count: int, reached: int, **options) -> Case:
    """Detectors: of each of 340 places eight numbers and the classes."""
    options = {"options": {"width": 2}, "depth": 1, **options}
    sizes = {**options, "width": 2}, {**options, "width": 3}
    return of("fpn", *sizes, count, reached=reached, shape=(2, 64, 64), answers=(340, 11))


def ordinary(width: int) -> nn.Module:
    """A network that knows nothing of winnow."""
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 3),
    )


def replaced(width: int) -> Space:
    def rule(path: str, module: nn.Module) -> Choice | None:
        if isinstance(module, nn.ReLU):
            return Choice(path, {"relu": module, "gelu": nn.GELU()})
        if isinstance(module, nn.Conv2d) and module.in_channels == module.out_channels:
            pointwise = nn.Conv2d(module.in_channels, module.out_channels, 1)
            return Choice(path, {"full": module, "pointwise": pointwise, "skip": nn.Identity()})
        return None

    return replace(ordinary(width), rule)


def conditional(classes: int, image_channels: int, width: int = 4) -> Space:
    """A user's own space: nesting, a subset with decisions inside, tied names, a shared layer, dropout."""
    shared = nn.Conv2d(width, width, 3, padding=1)

    def convs(name: str) -> Choice:
        norm = nn.BatchNorm2d(width)
        return Choice(name, {1: nn.Conv2d(width, width, 1), 3: shared, 5: nn.Sequential(norm, nn.Dropout(0.5))})

    deep = nn.Sequential(convs("kernel"), nn.ReLU(), Choice("pool", {"avg": nn.AvgPool2d(2), "max": nn.MaxPool2d(2)}))
    layers = [
        nn.Conv2d(image_channels, width, 1),
        Choice("depth", {"deep": deep, "flat": nn.AvgPool2d(2)}),
        Choice("branches", {"a": convs("a"), "b": convs("b"), "c": nn.Identity()}, pick=2),
        Choice("tied", {"bn": nn.BatchNorm2d(width), "relu": nn.ReLU()}),
        Choice("tied", {"bn": nn.BatchNorm2d(width), "relu": nn.ReLU()}),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, classes),
    ]
    return Space(nn.Sequential(*layers))


def elastic(classes: int, image_channels: int, image_size: int = 8, width: int = 4) -> Space:
    """An OFA-like space, small: two units of open depth, blocks of open ratio and kernel, an open stem."""
    stem = Number.open("stem/width", (1, 2)).map(lambda w: w * width)

    def block(name: str) -> nn.Module:
        ratio, kernel = Number.open(f"{name}/ratio", (1, 2)), Number.open(f"{name}/kernel", (1, 3, 5))
        middle = ratio.map(lambda r: r * width)
        inside = [Conv(stem, middle), Norm(middle), nn.ReLU(), Conv(middle, middle, kernel, depthwise=True)]
        return Residual(nn.Sequential(*inside, Norm(middle), nn.ReLU(), Conv(middle, stem, bias=True)))

    units = [Depth(f"unit{u}/depth", [block(f"unit{u}/block{b}") for b in range(3)], (0, 2, 3)) for u in range(2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), Linear(stem, classes)]
    return Space(nn.Sequential(Conv(image_channels, stem, 3), *units, *head))


class Residual(nn.Module):
    def __init__(self, inside: nn.Module):
        super().__init__()
        self.inside = inside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inside(x)


def multi_branch(classes: int, image_channels: int, width: int = 4) -> Space:
    """Cells that keep one to three of five operations, one of which holds a decision of its own."""

    def cell(name: str) -> Choice:
        convs = {f"conv{k}": nn.Conv2d(width, width, k, padding=k // 2) for k in (1, 3, 5)}
        pool = Choice(f"{name}/pool", {"avg": nn.AvgPool2d(3, 1, 1), "max": nn.MaxPool2d(3, 1, 1)})
        return Choice(name, {**convs, "pool": pool, "skip": nn.Identity()}, pick=3, least=1)

    layers = [nn.Conv2d(image_channels, width, 1), cell("a"), nn.BatchNorm2d(width), nn.ReLU(), cell("b")]
    return Space(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)))


class Members(nn.Module):
    """What several members make of one map, added up."""

    def __init__(self, *members: nn.Module):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(member(x) for member in self.members)


def ensemble(classes: int, image_channels: int, width: int = 4) -> Space:
    """Two members that share a first part of open length, and the weights of all candidates (NEAS)."""
    depth, kernels = 4, (1, 3, 5)
    layers = [{k: nn.Conv2d(width, width, k, padding=k // 2) for k in kernels} for _ in range(depth)]

    def chain(member: str, start: int, stop: int) -> nn.Sequential:
        return nn.Sequential(*(Choice(f"{member}{i}", layers[i]) for i in range(start, stop)))

    def split(at: int) -> nn.Module:
        if at == depth:
            return chain("shared/", 0, depth)
        return nn.Sequential(chain("shared/", 0, at), Members(chain("one/", at, depth), chain("two/", at, depth)))

    body = Choice("split", {at: split(at) for at in (1, 2, 4)})
    head = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
    return Space(nn.Sequential(nn.Conv2d(image_channels, width, 1), body, *head))


def narrowed(classes: int, image_channels: int, width: int = 4) -> Space:
    """A view of the user's space: fewer options of a single choice and of a subset."""
    whole = conditional(classes, image_channels, width)
    return whole.within({"kernel": (1, 5), "branches": ("a", "c"), "depth": ("deep", "flat")})


CASES = {
    "nas_bench_201": of("nas_bench_201", {"channels": 4, "cells": 1}, {"channels": 6, "cells": 2}, 5**6, reached=6),
    "nas_bench_101": of(
        "nas_bench_101", {"channels": 6, "cells": 1}, {"channels": 8, "cells": 2}, 1 + 18 + 1404 + 247536 + NB101
    ),
    "darts": _darts(CELLS**2),
    "darts without none": _darts(CELLS**2, none=False),
    "darts s1": _darts(RESTRICTED**2, candidates="s1"),
    "darts s2": _darts(RESTRICTED**2, candidates="s2"),
    "darts s3": _darts(RESTRICTED**2, candidates="s3"),
    "darts s4": _darts(RESTRICTED**2, candidates="s4"),
    "darts for imagenet": _darts(CELLS**2, stem="imagenet", shape=(2, 16, 16)),
    "factorised": of("factorised", *TWO_CELLS, ((2 * 3 * 4 * 5) ** 2 * 7**8) ** 2, reached=32),
    "macro": of("macro", {"width": 0.125}, {"width": 0.25}, 3**8, reached=8),
    "mobile": of("mobile", {"width": 0.25}, {"width": 0.5, "final": True}, 4**20, reached=20, shape=(2, 16, 16)),
    "mobile channels": of(
        *("mobile", {"width": 0.25, **WIDTHS}, {"width": 0.5, "final": True, **WIDTHS}, (4 * 3) ** 20),
        reached=40,
        shape=(2, 16, 16),
    ),
    "resnet": of("resnet", {"width": 0.0625}, {"width": 0.125}, 6**8, reached=8, shape=(2, 16, 16)),
    "resnet channels": of(
        "resnet", {"width": 0.0625, **WIDTHS, **BITS}, {"width": 0.125, **WIDTHS, **BITS}, (3 * 3) ** 8, reached=16
    ),
    "cream": of("cream", {"width": 0.25, **CREAM}, {"width": 0.75, **CREAM}, 6**6, reached=6, shape=(2, 16, 16)),
    "multibranch": of(
        "multibranch", {"width": 0.25, **NSE}, {"width": 0.5, **NSE}, (1 + 3 + 3) ** 2 * (3 + 3) ** 6, reached=8
    ),
    "ofa": of("ofa", {"width": 0.25, **OFA}, {"width": 0.75, **OFA}, (2 * 2 + (2 * 2) ** 2) ** 5),
    "vit": of("vit", {**VIT, "embeddings": (8, 12)}, {**VIT, "embeddings": (8, 12), "patch": 4}, 2 * (4 + 4**2)),
    "fpn": _fpn(6**6, reached=6, nodes=3, deformable=False),
    "fpn deformable": _fpn(6**3, reached=3, nodes=2),
    "detector": of(
        "detector", BOXES, {**BOXES, "options": {"width": 0.25}}, 3**8, reached=8, shape=(2, 16, 16), answers=(84, 11)
    ),
    "interactions": _table(2 * 3 * (2 * 4 * 3 * 3 - 1), embedding=[2, 3]),
    "interactions of one size": _table(3 * (2 * 4 * 3 * 3 * 2**6 - 1), embedding=[3], pairs="all"),
    "members": of("ensemble", {**PAIR, "width": 0.125}, {**PAIR, "width": 0.25, "final": True}, MEMBERS),
    "replace": Case(lambda: replaced(4), lambda: replaced(6), 2**3 * 3**2, reached=5),
    "user": of("space_cases:conditional", {}, {"width": 6}, (3 * 2 + 1) * (3 * 3 + 3 + 3) * 2),
    "elastic": of("space_cases:elastic", {}, {"width": 6}, 2 * (1 + 6**2 + 6**3) ** 2),
    "multi-branch": of("space_cases:multi_branch", {}, {"width": 6}, ((4 + 2) + (6 + 4 * 2) + (4 + 6 * 2)) ** 2),
    "ensemble": of("space_cases:ensemble", {}, {"width": 6}, 3 * 27**2 + 9 * 9**2 + 81),
    "narrowed": of("space_cases:narrowed", {}, {"width": 6}, (2 * 2 + 1) * 3 * 2),
}


@functools.cache
def small(name: str) -> Space:
    """The small space, built once."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return CASES[name].small()


def covering(space: Space, n: int = 3) -> Iterator[Architecture]:
    """Architectures that differ in every decision, the options in turn: together they hold every kind of candidate."""
    for i in range(n):
        turn = itertools.count(i)
        yield space.decide(lambda d, turn=turn: d.values[next(turn) % len(d.values)])


def drawn(space: Space, n: int) -> list[Architecture]:
    rng = random.Random(0)
    return [space.decide(uniform(rng)) for _ in range(n)]


def digests(spaces: dict[str, Space]) -> dict[str, list[str]]:
    return {name: [space.digest, *(arch.digest for arch in drawn(space, 5))] for name, space in spaces.items()}


if __name__ == "__main__":
    with torch.device("meta"):
        print(json.dumps(digests({name: case.small() for name, case in CASES.items()})))
