"""A detector without anchors on a backbone out of another space; what is open is open in the backbone."""

from collections.abc import Callable
from typing import Any, Literal

from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.holes import Hole
from winnow.core.options import Positive, takes
from winnow.core.space import Space
from winnow.nn.detection import Detector, Features, Head, Pyramid, features_of, plain
from winnow.spaces.cream import cream
from winnow.spaces.macro import macro
from winnow.spaces.mobile import mobile
from winnow.spaces.ofa import ofa
from winnow.spaces.resnet import resnet

Backbone = Literal["cream", "macro", "mobile", "ofa", "plain", "resnet"]
BACKBONES: dict[str, Callable[..., Any]] = {  # those that are chains of modules, so that there are maps between
    "cream": cream,
    "macro": macro,
    "mobile": mobile,
    "ofa": ofa,
    "plain": plain,
    "resnet": resnet,
}


def detector(
    backbone: Backbone = "mobile",
    options: dict[str, Any] = {},  # noqa: B006
    strides: list[int] | None = None,
    width: Positive = 64,
    depth: Positive = 1,
    classes: int = 80,
    image_channels: int = 3,
    image_height: int = 256,
    image_width: int = 256,
    final: bool = False,
) -> Space:
    """A `backbone` with the `options` of its space, a feature pyramid of `width` channels, a head of FCOS.

    x (batch, image_channels, height, width) to (batch, locations, 8 + classes), as `nn.detection.Head` has it. The
    decisions are those of the backbone; "plain" has none. Maps are taken at `strides`, null: the three coarsest; each
    branch of the head has `depth` convolutions. What the backbone has after its last decision, its classifier too, is
    left out. Refused where it has no map at one of the strides.
    """
    shape = (image_channels, image_height, image_width)
    features = maps(backbone, options, shape, strides, final=final)
    neck, head = Pyramid(features.channels, width), Head(width, classes, features.strides, depth)
    return Space(Detector(features, neck, head), fixed=backbone == "plain")


def maps(
    backbone: str, options: dict[str, Any], shape: tuple[int, int, int], strides: list[int] | None, *, final: bool
) -> Features:
    """What gives maps of images of `shape` (channels, height, width): all of `backbone` up to its last decision."""
    if backbone not in BACKBONES:
        raise Refused(f"backbone takes one of {', '.join(BACKBONES)}, not {backbone!r}")
    build = BACKBONES[backbone]
    facts = {"image_channels": shape[0], "image_size": shape[1:], "final": final}
    built = build(**{name: value for name, value in facts.items() if takes(build, name)}, **options)
    if not isinstance(built, Space):
        return features_of(built, shape, strides)
    end = 1 + max(number for number, part in enumerate(built.model.children()) if _open(part))
    found = []
    for at in (0, -1):

        def choose(decision: Decision, at: int = at) -> Value:
            return decision.values[at]

        built.board.setting = built.decide(choose)
        try:
            found.append(features_of(built.model, shape, strides, end))
        finally:
            built.board.clear()
    first, last = found
    if first.channels != last.channels:
        raise Refused(
            f"backbone {backbone!r}: its maps have {first.channels} channels in one architecture and "
            f"{last.channels} in another; a neck takes equal ones"
        )
    return last


def _open(module: Any) -> bool:
    return any(isinstance(each, Hole) for each in module.modules())
