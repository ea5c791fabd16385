"""Images with boxes: what the sources of them share, and the rules for boxes that cannot be used."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from winnow.core.errors import Refused
from winnow.data.source import ImageSize, sides

BOXES = "boxes"  # the column: float32 (most, 5), x1, y1, x2, y2 in pixels and the category; rows of -1 are none
OUTSIDE, EMPTY, SMALL = "box outside its image", "box of no area", "box of less than a pixel at data.image_size"


@dataclass
class Tally:
    """What was done to boxes: `left_out` by reason, and those `cut` at the border; images that have none."""

    left_out: Counter = field(default_factory=Counter)
    cut: int = 0
    without: int = 0

    def notes(self) -> tuple[str, ...]:
        said = []
        if self.cut:
            said.append(f"{self.cut} box(es) that reach beyond their image: cut at its border")
        if self.without:
            said.append(f"{self.without} image(s) without a box: all of them is background")
        return tuple(said)


def fitted(boxes: np.ndarray, size: tuple[int, int], wanted: ImageSize, where: str, tally: Tally) -> np.ndarray:
    """Boxes (k, 5) of an image of `size` (height, width) as they lie in it once it is brought to `wanted`.

    Cut at the border, where they are outside or of no area left out; all that is counted. Refused, naming the place, on
    numbers that are not finite.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 5)
    if not np.isfinite(boxes).all():
        raise Refused(
            f"{where}: a box has a number that is not finite: {boxes[~np.isfinite(boxes).all(1)][0].tolist()}"
        )
    height, width = size
    empty = (boxes[:, 2:4] <= boxes[:, :2]).any(1)
    cut = boxes.copy()
    cut[:, [0, 2]], cut[:, [1, 3]] = boxes[:, [0, 2]].clip(0, width), boxes[:, [1, 3]].clip(0, height)
    outside = ~empty & (cut[:, 2:4] <= cut[:, :2]).any(1)
    tally.left_out.update({EMPTY: int(empty.sum()), OUTSIDE: int(outside.sum())})
    stays = ~empty & ~outside
    tally.cut += int((np.abs(cut - boxes)[stays] > 1e-3).any(1).sum())
    scaled = cut[stays]
    if wanted is not None:
        scaled[:, :4] *= scale_of(size, sides(wanted))
        small = (scaled[:, 2:4] - scaled[:, :2] < 1).any(1)
        tally.left_out[SMALL] += int(small.sum())
        scaled = scaled[~small]
    tally.without += not len(scaled)
    return scaled


def scale_of(size: Sequence[int], wanted: Sequence[int]) -> float:
    """By how much an image is made smaller, or larger, to lie within `wanted`; both (height, width)."""
    return min(wanted[0] / size[0], wanted[1] / size[1])


def padded(boxes: Sequence[np.ndarray], most: int) -> np.ndarray:
    """(images, most, 5) float32 of boxes (k, 5) each; rows of -1 fill up."""
    found = np.full((len(boxes), most, 5), -1, np.float32)
    for row, each in zip(found, boxes, strict=True):
        row[: len(each)] = each
    return found
