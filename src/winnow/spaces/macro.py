"""The space of NAS-Bench-Macro: a chain of eight layers, three candidates each (Su et al. 2021, arXiv:2103.11922)."""

from collections.abc import Mapping

from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.options import Rate
from winnow.core.space import Space
from winnow.nn.blocks import Residual, conv_norm
from winnow.spaces.options import positive

OPS = ("identity", "mb3_k3", "mb6_k5")  # published as 0, 1 and 2
SIZES = {"mb3_k3": (3, 3), "mb6_k5": (6, 5)}  # expansion, kernel
STAGES = (2, 3, 3)  # layers; the first of each halves the image and doubles the channels
STEM, HEAD = 32, 1280


def macro(width: Rate = 1.0, classes: int = 10, image_channels: int = 3) -> Space:
    """Stem, decisions "block/0" to "block/7", head; x is (batch, image_channels, h, w). 3^8 = 6,561 architectures.

    `width` multiplies all channels. Where a layer changes the shape, its identity is a pointwise convolution and a
    BatchNorm. The table's own trainings saw 32 x 32 images. ValueError on sizes below 1.
    """
    positive(classes=classes, image_channels=image_channels)
    stem, blocks, head = parts(width, classes, image_channels)
    choices = [Choice(f"block/{i}", candidates) for i, candidates in enumerate(blocks)]
    return Space(nn.Sequential(stem, *choices, head))


def parts(width: float, classes: int, image_channels: int) -> tuple[nn.Module, list[dict[str, nn.Module]], nn.Module]:
    """The stem, the candidates of every layer by name, and the head."""
    channels, last = max(1, round(STEM * width)), max(1, round(HEAD * width))
    stem = nn.Sequential(*conv_norm(image_channels, channels, 3, 1), nn.ReLU())
    blocks: list[dict[str, nn.Module]] = []
    for layers in STAGES:
        for i in range(layers):
            c_in, stride = (channels, 2) if i == 0 else (2 * channels, 1)
            blocks.append({op: _candidate(op, c_in, 2 * channels, stride) for op in OPS})
        channels *= 2
    pooled = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return stem, blocks, nn.Sequential(*conv_norm(channels, last, 1, 1), *pooled, nn.Linear(last, classes))


def _candidate(op: str, c_in: int, c_out: int, stride: int) -> nn.Module:
    same = stride == 1 and c_in == c_out
    if op == "identity":
        return nn.Identity() if same else nn.Sequential(*conv_norm(c_in, c_out, 1, stride))
    expansion, kernel = SIZES[op]
    middle = c_in * expansion
    body = nn.Sequential(
        *conv_norm(c_in, middle, 1, 1),
        nn.ReLU(),
        *conv_norm(middle, middle, kernel, stride, middle),
        nn.ReLU(),
        *conv_norm(middle, c_out, 1, 1),
    )
    return Residual(body) if same else body


def to_string(arch: Mapping[str, Value]) -> str:
    """The table's own notation: "22212202"."""
    return "".join(str(OPS.index(str(arch[f"block/{i}"]))) for i in range(sum(STAGES)))


def from_string(text: str) -> Architecture:
    """The inverse of `to_string`. Refused where `text` is no row of the table."""
    if len(text) != sum(STAGES) or not set(text) <= set("012"):
        raise Refused(f"a network of NAS-Bench-Macro reads like '22212202', eight digits of 0, 1 and 2, not {text!r}")
    return Architecture.of({f"block/{i}": OPS[int(digit)] for i, digit in enumerate(text)})
