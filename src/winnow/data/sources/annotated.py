"""Images with boxes, wherever they were annotated: from places, bytes and boxes to a source."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from winnow.core.errors import Refused
from winnow.data.boxed import BOXES, Tally, fitted, padded
from winnow.data.source import Options, Part, Source
from winnow.data.sources.decode import Encoded, contained, decode_sized

ROW = 5  # numbers of a box: x1, y1, x2, y2 in pixels of its image, category


@dataclass
class Annotated:
    """Images of one set, in order: places and bytes, boxes (k, 5) of each, their numbers in all of the set.

    `sizes` are heights and widths that the annotation tells, None where it does not.
    """

    encoded: Iterable[Encoded]
    boxes: Sequence[np.ndarray]
    rows: np.ndarray
    sizes: Sequence[tuple[int, int] | None] = field(default_factory=list)


def boxed(
    sets: Sequence[Annotated],
    classes: Sequence[str],
    options: Options,
    *,
    digest: str,
    left_out: Mapping[str, int],
    notes: Sequence[str],
) -> Source:
    """Training and, where there is one, test images with their boxes; all of one size, or brought to data.image_size.

    An image is made as large as fits, whole, from the top left, the rest grey. A mirrored image is taken to keep its
    categories. Refused where an image has another size than its annotation says: its boxes would be elsewhere.
    """
    counts = [len(one.boxes) for one in sets]
    encoded, places = [], []
    for place, data in itertools.chain.from_iterable(one.encoded for one in sets):
        places.append(place)
        encoded.append((place, data))
    images, said, wholes = decode_sized(encoded, sum(counts), options.image_size, contained)
    told = [size for one in sets for size in (one.sizes or [None] * len(one.boxes))]
    for place, size, whole in zip(places, told, wholes.tolist(), strict=True):
        if size is not None and tuple(size) != tuple(whole):
            raise Refused(
                f"{place}: the image has {whole[1]} x {whole[0]} pixels (width x height) and its annotation says "
                f"{size[1]} x {size[0]}: its boxes would lie elsewhere; annotate it again, or leave it out"
            )
    tally = Tally(Counter())
    raw = (each for one in sets for each in one.boxes)
    boxes = [
        fitted(each, (whole[0], whole[1]), options.image_size, place, tally)
        for each, whole, place in zip(raw, wholes.tolist(), places, strict=True)
    ]
    if not sum(map(len, boxes)):
        raise Refused("no box is left in any image: there is nothing to learn")
    most, parts, start = max(map(len, boxes)), [], 0
    for one, count in zip(sets, counts, strict=True):
        inside = slice(start, start + count)
        parts.append(Part({"image": images[inside], BOXES: padded(boxes[inside], most)}, one.rows))
        start += count
    counted = {**left_out, **{why: number for why, number in tally.left_out.items() if number}}
    return Source(
        parts[0],
        parts[1] if len(parts) > 1 else None,
        {"classes": list(classes), "symmetric": True},
        digest=digest,
        left_out=counted,
        notes=(*notes, *said, *tally.notes()),
    )


def some(count: int, limit: int | None, seed: int) -> np.ndarray:
    """Sorted numbers of at most `limit` images, drawn from `seed`; all of them for None."""
    if limit is None or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))


def corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes x, y, width, height (k, 4) as x1, y1, x2, y2."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
