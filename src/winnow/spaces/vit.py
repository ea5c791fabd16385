"""The vision transformers of AutoFormer (Chen et al. 2021, arXiv:2107.00651): its published ranges, and a small one."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Number, Value
from winnow.core.options import Positive
from winnow.core.space import Space
from winnow.holes.depth import Depth
from winnow.holes.elastic import Linear
from winnow.holes.narrowed import narrowed
from winnow.nn.attention import STD, Attention, MeanOfPatches, Normed, Patches, Placed, RelativePlaces
from winnow.nn.blocks import Residual
from winnow.nn.drop_path import DropPath
from winnow.spaces.options import positive, sizes

SIZES = {  # embeddings, heads, ratios in percent, depths, width of a head
    "tiny": ((192, 216, 240), (3, 4), (350, 400), (12, 13, 14), 64),
    "small": ((320, 384, 448), (5, 6, 7), (300, 350, 400), (12, 13, 14), 64),
    "base": ((528, 576, 624), (9, 10), (300, 350, 400), (14, 15, 16), 64),
    "micro": ((32, 48, 64), (2, 3, 4), (200, 300, 400), (2, 3, 4), 16),  # ours
}
REACH = 14  # places further apart are as far as that
PATCHES = (16, 8, 4, 2, 1)
LEAST = 7  # patches along the shorter side, where nothing is said of them


def vit(
    size: Literal["tiny", "small", "base", "micro"] = "tiny",
    embeddings: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    ratios: Sequence[int] | None = None,
    depths: Sequence[int] | None = None,
    patch: Positive | None = None,
    image_size: int | tuple[int, int] = 224,
    classes: int = 1000,
    image_channels: int = 3,
) -> Space:
    """Patches, blocks of attention and MLP, head; x is (batch, image_channels, height, width).

    Decisions "embedding", the width of all tokens; "depth", the first so many blocks; and of each block "block1/heads"
    and "block1/ratio", the MLP's width in percent of the embedding's. `size` "tiny", "small" and "base" are the
    published ranges, which the others replace (the paper's base has heads of 8 too), "micro" is ours, for small images.
    `patch`: the side of one; if nothing is said, the largest of 16, 8, 4, 2 and 1 that leaves 7 or more along each
    side: 16 at 224, 4 at 32, 2 at 14. Smaller networks are the beginnings of larger ones, their biases too, which the
    authors' code mixes up. Nothing that no candidate has is stored. ValueError where patches do not fill the image.
    """
    if size not in SIZES:
        raise ValueError(f"size takes {', '.join(SIZES)}, not {size!r}")
    given = dict(zip(("embeddings", "heads", "ratios", "depths"), (embeddings, heads, ratios, depths), strict=True))
    *usual, width = SIZES[size]
    opened = [sizes(name, usual[i] if options is None else options) for i, (name, options) in enumerate(given.items())]
    height_width = image_size if isinstance(image_size, tuple | list) else (image_size, image_size)
    positive(classes=classes, image_channels=image_channels, image_size=min(height_width))
    side = _patch(patch, *height_width)
    grid = (height_width[0] // side, height_width[1] // side)

    d = Number.open("embedding", opened[0])
    blocks = [_block(f"block{i}", d, opened[1], opened[2], width, grid) for i in range(1, max(opened[3]) + 1)]
    return Space(
        Transformer(
            Patches(side),
            Linear(image_channels * side**2, d),
            narrowed(d, lambda k: Placed(grid[0] * grid[1], k)),
            Depth("depth", blocks, opened[3]),
            narrowed(d, Normed),
            MeanOfPatches(),
            Linear(d, classes),
        )
    )


def plain(space: Space) -> Architecture:
    """The transformer made by hand, in the proportions of ViT (Dosovitskiy et al. 2021, arXiv:2010.11929, table 1):
    all blocks alike, MLPs four times as wide as the tokens, as deep as the space goes; of middle width, where sizes are
    open, with as many heads as the middle option has.
    """

    def choose(d: Decision) -> Value:
        if d.name == "depth":
            return d.values[-1]
        return 400 if d.name.endswith("/ratio") and 400 in d.values else d.values[len(d.values) // 2]

    return space.decide(choose)


def _patch(patch: int | None, height: int, width: int) -> int:
    if patch is None:
        fitting = (p for p in PATCHES if height % p == width % p == 0 and min(height, width) >= LEAST * p)
        patch = next(fitting, 1)
    positive(patch=patch)
    if height % patch or width % patch:
        raise ValueError(f"patch {patch} does not fill images of {height} x {width}")
    return patch


def _block(
    name: str, d: Number, heads: tuple[int, ...], ratios: tuple[int, ...], width: int, grid: tuple[int, int]
) -> nn.Module:
    """Attention, then an MLP, each of what a LayerNorm makes of the tokens and added to them."""
    q = Number.open(f"{name}/heads", heads).map(lambda h: h * width)
    (embedding,), ratio = d.decisions, Decision(f"{name}/ratio", ratios)
    m = Number((embedding, ratio), lambda answers: d.of(answers) * int(answers[ratio.name]) // 100)  # type: ignore[arg-type]
    attention = Attention(Linear(d, q.map(lambda n: 3 * n)), RelativePlaces(grid, width, REACH), Linear(q, d), width)
    mlp = nn.Sequential(Linear(d, m), nn.GELU(), Linear(m, d))
    return nn.Sequential(*(Residual(nn.Sequential(narrowed(d, Normed), part, DropPath())) for part in (attention, mlp)))


class Transformer(nn.Sequential):
    """A chain whose linear maps begin as a truncated N(0, 0.02²), their biases as zeros."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=STD)
                nn.init.zeros_(module.bias)
