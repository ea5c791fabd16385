"""The necks of OPANAS (Liang et al. 2021, arXiv:2103.04507): how a detector adds up its feature pyramids."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.nn.detection import Detector, Head
from winnow.nn.pyramid import PATHS, Neck, paths
from winnow.spaces.detector import Backbone, maps
from winnow.spaces.options import positive

STRIDES = [4, 8, 16, 32]  # of the maps that the neck is given
NONE = PATHS[0]


def fpn(
    width: Positive = 112,
    nodes: Positive = 5,
    deformable: bool = True,
    shared: bool = False,
    backbone: Backbone = "plain",
    options: dict[str, Any] = {},  # noqa: B006
    strides: list[int] = STRIDES,
    depth: Positive = 2,
    classes: int = 80,
    image_channels: int = 3,
    image_height: int = 256,
    image_width: int = 256,
    final: bool = False,
) -> Space:
    """A detector whose neck is open: x (batch, image_channels, height, width) to what `nn.detection.Head` returns.

    Decisions "neck/i<-j", one of `PATHS` for each pair of nodes j < i: 6 ** (nodes (nodes + 1) / 2) necks, 6^15 as
    published, and besides those of the `backbone` of space detector, "plain" has none. `width` is that of the neck
    (published 112 and 160) and of the head, which has `depth` convolutions a branch; `deformable` kernels are
    published; `shared`: one kernel for both levels that are fused, as in the released code, where the paper's equation
    has two. `strides` are those of the maps that the neck is given, four or three (the fourth is then made of the
    third). Published backbones are ResNets trained on ImageNet. Refused where there is no map at one of them.
    """
    positive(width=width, nodes=nodes, depth=depth, classes=classes, image_channels=image_channels)
    if len(strides) not in (3, 4):
        raise Refused(f"strides takes three or four, those of the maps that the neck is given, not {strides}")
    features = maps(backbone, options, (image_channels, image_height, image_width), strides, final=final)
    edges = [Choice(name, paths(width, deformable, shared)) for name in _names(nodes)]
    levels = [*features.strides, *([2 * features.strides[-1]] if len(strides) == 3 else [])]
    space = Space(Detector(features, Neck(features.channels, width, nodes, edges), Head(width, classes, levels, depth)))
    space.represent = partial(canonical, nodes)
    return space


def top_down(space: Space) -> Architecture:
    """The neck of an FPN (Lin et al. 2017, arXiv:1612.03144), as this space has it: from the coarsest level down."""
    return _by_hand(space, {"neck/1<-0": "top_down"})


def down_and_up(space: Space) -> Architecture:
    """The neck of a PANet (Liu et al. 2018, arXiv:1803.01534), likewise: down, and up again from there."""
    return _by_hand(space, {"neck/1<-0": "top_down", "neck/2<-1": "bottom_up"})


def _by_hand(space: Space, paths: Mapping[str, str]) -> Architecture:
    """A neck of `paths` and no others, on the largest backbone."""

    def choose(d: Decision) -> Value:
        return paths.get(d.name, NONE) if d.name.startswith("neck/") else d.values[-1]

    return space.decide(choose)


def canonical(nodes: int, arch: Mapping[str, Value]) -> Architecture | None:
    """The neck with `none` on all that leaves a node that nothing reaches; None where nothing reaches any."""
    found, fed = dict(arch), {0}
    for node in range(1, nodes + 1):
        into = {source: f"neck/{node}<-{source}" for source in range(node)}
        found.update({name: NONE for source, name in into.items() if source not in fed})
        if any(found[name] != NONE for name in into.values()):
            fed.add(node)
    return Architecture.of(found) if len(fed) > 1 else None


def _names(nodes: int) -> list[str]:
    """In the order of the released lists: (1, 0), (2, 0), (2, 1), (3, 0), ..."""
    return [f"neck/{node}<-{source}" for node in range(1, nodes + 1) for source in range(node)]
