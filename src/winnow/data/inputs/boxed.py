"""Images whose answers are boxes: what moves an image moves its boxes with it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional

from winnow.core.errors import Refused
from winnow.data.inputs.images import Images

SEEN = 0.25  # share of a box that must be left in the image, else it is none any more
Zoom = Annotated[float, Ge(1), Le(4)]


@dataclass(frozen=True)
class Moves:
    """`flip` mirrors half of the images, `turn` turns half of them upside down; `zoom` makes them larger or smaller by
    up to so many times, and takes a window of them, or a place for them, anywhere.
    """

    flip: bool = False
    turn: bool = False
    zoom: float = 1.0


class BoxedImages(Images):
    """As `Images`; `turned` does to boxes (b, most, 5) what was done to their images. `facts` likewise."""

    def __init__(self, facts: Mapping[str, Any], augment: Moves | None = None):
        super().__init__(facts)
        self.moves = augment or Moves()

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mirrored (n,) and upside down (n,) bool; sizes (n,) and, from -1 to 1, places across and down (n, 2)."""
        moves, draws = self.moves, {}
        if moves.flip:
            draws["flips"] = torch.rand(count, generator=generator) < 0.5
        if moves.turn:
            draws["turns"] = torch.rand(count, generator=generator) < 0.5
        if moves.zoom > 1:
            draws["sizes"] = moves.zoom ** (2 * torch.rand(count, generator=generator) - 1)
            draws["places"] = 2 * torch.rand(count, 2, generator=generator) - 1
        return draws

    def make(self, columns: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Tensor:
        x = super().make(columns, {name: drawn for name, drawn in draws.items() if name == "flips"})
        if "turns" in draws:
            x = torch.where(draws["turns"][:, None, None, None], x.flip(2), x)
        if "sizes" not in draws:
            return x
        size, shift = draws["sizes"], _shift(draws)
        places = torch.eye(2, device=x.device) / size[:, None, None]
        back = torch.cat([places, (-shift / size[:, None])[..., None]], 2)  # from a place in the result to one in x
        grid = functional.affine_grid(back, list(x.shape), align_corners=False)
        return functional.grid_sample(x, grid, align_corners=False)

    def turned(self, boxes: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        """Boxes of which less than a quarter is left in the image become rows of -1."""
        if not draws:
            return boxes
        sides = torch.tensor([self.size[1], self.size[0]], dtype=boxes.dtype, device=boxes.device)
        low, high, there = boxes[..., :2], boxes[..., 2:4], boxes[..., 4:] >= 0
        for name, axis in (("flips", 0), ("turns", 1)):
            if name in draws:
                which = draws[name][:, None, None] & (torch.arange(2, device=boxes.device) == axis)
                low, high = torch.where(which, sides - high, low), torch.where(which, sides - low, high)
        if "sizes" in draws:
            size, shift = draws["sizes"][:, None, None], _shift(draws)[:, None] * sides / 2
            low, high = ((each - sides / 2) * size + sides / 2 + shift for each in (low, high))
            whole = (high - low).prod(2, keepdim=True)
            low, high = (torch.minimum(each.clamp(min=0), sides) for each in (low, high))
            there = there & ((high - low).prod(2, keepdim=True) > SEEN * whole)
        return torch.where(there, torch.cat([low, high, boxes[..., 4:]], 2), -1.0)


def _shift(draws: Mapping[str, Tensor]) -> Tensor:
    """(n, 2), in halves of the image: as far as a window stays inside it, or the image inside the window."""
    shift: Tensor = draws["places"] * (draws["sizes"] - 1).abs()[:, None]
    return shift


def moved(facts: Mapping[str, Any], *, flip: bool | None = None, turn: bool = False, zoom: Zoom = 1.25) -> Moves:
    """Unsaid (None): flips where they keep what is in a box."""
    if not 1 <= zoom <= 4:
        raise Refused(f"augmentation zoom takes 1 (none) to 4, not {zoom}")
    return Moves(facts["symmetric"] if flip is None else flip, turn, zoom)
