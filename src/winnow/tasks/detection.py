"""Where in an image is what: boxes with a category each, judged by average precision (AP)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.core.errors import Refused
from winnow.data.boxed import BOXES
from winnow.data.deal import Fractions, at_random
from winnow.data.inputs import images
from winnow.data.inputs.boxed import BoxedImages, moved
from winnow.data.loaders import Split, subset
from winnow.data.source import Columns, Part, Source
from winnow.nn.boxes import iou, kept
from winnow.nn.detection import SCORES, STRIDE
from winnow.system.extra import needed
from winnow.tasks.box_loss import BoxLoss, imitate
from winnow.tasks.drawn_boxes import DRAWN, drawn, recalled
from winnow.tasks.found_boxes import MOST, OVERLAP, average_precision, boxes_of
from winnow.tasks.task import PERCENT, Facts, Picture, Returned, Task

FLOOR = 3  # places a side of a mean box, in the grid of the trivial detector


def checked(source: Source) -> Source:
    """The source with boxes as float32, equally many rows in both parts; Refused where they are none."""
    needed("faster_coco_eval", "detection")  # now rather than after training
    source = images.checked(source)
    classes = source.facts.get("classes")
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise Refused("the source's facts do not name its categories; write facts={'classes': ['cat', 'dog']}")
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise Refused(f"category {twice!r} is there twice; each needs a name of its own")
    for name, part in source.parts().items():
        _check_boxes(part, name, classes)
    most = max(part.columns[BOXES].shape[1] for part in source.parts().values())
    parts = {name: _with_most(part, most) for name, part in source.parts().items()}
    present = {name: _present(part) for name, part in parts.items()}
    lost = sorted(present.get("test", set()) - present["train"])
    notes = [f"test has boxes of {classes[each]}, of which training has none" for each in lost]
    if nowhere := [name for number, name in enumerate(classes) if not any(number in each for each in present.values())]:
        some = ", ".join(nowhere[:8]) + (", …" if len(nowhere) > 8 else "")
        notes.append(f"no image has a box of {len(nowhere)} of the {len(classes)} categories: {some}")
    return replace(source.with_parts(parts), facts={**source.facts, "most": most}, notes=(*source.notes, *notes))


def _check_boxes(part: Part, name: str, classes: Sequence[str]) -> None:
    if BOXES not in part.columns:
        raise Refused(f"the {name} part has columns {', '.join(part.columns)} and no {BOXES!r}")
    boxes = part.columns[BOXES]
    if boxes.ndim != 3 or boxes.shape[2] != 5 or boxes.dtype.kind != "f":
        raise Refused(
            f"the {name} boxes are {boxes.dtype} of shape {boxes.shape}; it takes real numbers (images, most, 5): x1, "
            "y1, x2, y2 in pixels and the category, rows of -1 where there is none"
        )
    rows, places = np.nonzero(~(boxes == -1).all(2))
    there = boxes[rows, places]
    height, width = part.columns[images.IMAGE].shape[2:]
    kinds = there[:, 4]
    inside = (there[:, :2] >= 0).all(1) & (there[:, 2] <= width + 1e-3) & (there[:, 3] <= height + 1e-3)
    right = (
        inside
        & (there[:, 2:4] > there[:, :2]).all(1)
        & (kinds == kinds.round())
        & (kinds >= 0)
        & (kinds < len(classes))
    )
    if not right.all():
        first = int(np.flatnonzero(~right)[0])
        raise Refused(
            f"the {name} boxes: {int((~right).sum())} are outside of their image of {width} x {height}, of no area, or "
            f"of no category 0 to {len(classes) - 1}; the first is {there[first].tolist()} of image {rows[first]}"
        )
    if name == "train" and not len(there):
        raise Refused("the train part has no box at all: there is nothing to learn")


def _with_most(part: Part, most: int) -> Part:
    boxes = part.columns[BOXES].astype(np.float32)
    lacking = np.full((len(boxes), most - boxes.shape[1], 5), -1, np.float32)
    return replace(part, columns={**part.columns, BOXES: np.concatenate([boxes, lacking], 1)})


def _present(part: Part) -> set[int]:
    kinds = part.columns[BOXES][..., 4]
    return set(kinds[kinds >= 0].astype(int).tolist())


def learnt(parts: Sequence[Columns], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Moments of pixels, and `floor`: what a detector says that looks at no image."""
    found = dict(images.learnt(parts, facts))
    boxes = torch.from_numpy(np.concatenate([part[BOXES] for part in parts]))
    return {**found, "floor": floor(boxes, len(facts["classes"]), found["shape"][1:])}


def floor(boxes: Tensor, classes: int, size: Sequence[int]) -> list[list[float]]:
    """The trivial detector: the same boxes for every image, at most 100 rows x1, y1, x2, y2, score, category.

    For each category boxes of its median size, `FLOOR` places a side apart all over the image; the score of one is in
    how many images out of `boxes` (n, most, 5) it overlaps one of its category by half. What overlaps a better one is
    left out.
    """
    height, width = size
    rows = []
    for number in range(classes):
        mine = boxes[boxes[..., 4] == number]
        if not len(mine):
            continue
        sides = (mine[:, 2:4] - mine[:, :2]).median(0).values
        across, down = (
            torch.arange(float(side) / 2, whole - float(side) / 2 + 1e-3, float(side) / FLOOR)
            for side, whole in zip(sides, (width, height), strict=True)
        )
        middle = torch.cartesian_prod(across, down)
        grid = torch.cat([middle - sides / 2, middle + sides / 2], 1)
        hits = [(iou(grid, each[each[:, 4] == number][:, :4]) >= 0.5).any(1) for each in boxes]
        score = torch.stack(hits).double().mean(0).float()
        rows.append(torch.cat([grid, score[:, None], torch.full_like(score[:, None], number)], 1))
    found = torch.cat(rows)
    stays = kept(found[None, :, :4], found[None, :, 4], found[None, :, 5], OVERLAP)[0] & (found[:, 4] > 0)
    found = found[stays]
    best = found[found[:, 4].argsort(dim=0, descending=True, stable=True)[:MOST]]
    return [[round(float(value), 4) for value in row] for row in best]


def dealt(
    columns: Columns, facts: Facts, fractions: Fractions, rng: np.random.Generator, limit: int | None
) -> np.ndarray:
    return at_random(len(columns[BOXES]), fractions, rng)


def measure(outputs: Sequence[Tensor], boxes: Sequence[Tensor]) -> dict[str, float]:
    """AP and AP50 in percent, over all images at once."""
    found, truth = torch.cat([boxes_of(each).cpu() for each in outputs]), torch.cat([each.cpu() for each in boxes])
    told = average_precision(found, truth, outputs[0].shape[2] - SCORES)
    return {"ap": told["ap"], "ap50": told["ap50"]}


def told(outputs: Sequence[Tensor], boxes: Tensor, facts: Facts) -> dict[str, Any]:
    """AP50 and, by category, AP and AP50: means over models; and of the trivial detector, `floor`."""
    classes = facts["classes"]
    each = [average_precision(boxes_of(one), boxes, len(classes)) for one in outputs]
    still = torch.tensor(facts["floor"], dtype=torch.float32).view(1, -1, 6).expand(len(boxes), -1, -1)
    trivial = average_precision(still, boxes, len(classes))
    return {
        "ap50": _mean([one["ap50"] for one in each]),
        "ap50s": [one["ap50"] for one in each],
        "classes": list(classes),
        "per_class": [_mean(values) for values in zip(*(one["per_class"] for one in each), strict=True)],
        "per_class_50": [_mean(values) for values in zip(*(one["per_class_50"] for one in each), strict=True)],
        "floor": {"ap": trivial["ap"], "ap50": trivial["ap50"]},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else None


def fewer_images(split: Split, resolution: int, samples: float, generator: torch.Generator) -> Split:
    """Fewer images. Refused where they are to be of a smaller resolution."""
    if resolution:
        raise Refused("detection has no smaller resolution: leave search.trials.training.resolution 0")
    if samples >= 1:
        return split
    order = torch.randperm(len(split), generator=generator)[: max(1, round(samples * len(split)))]
    return subset(split, order.sort().values.to(split.device))


def returned(facts: Facts) -> Returned:
    """Rows of locations; the strides in them must be some."""
    count = facts["classes"]
    return Returned(
        (None, SCORES + count),
        f"one tensor (batch, locations, {SCORES + count}): box x1, y1, x2, y2, point x, y, stride, centre-ness, and "
        f"logits of {count} categories, as winnow.nn.detection.Head does",
        lambda rows: torch.tensor([[0.0, 0.0, 16.0, 16.0, 0.0]]).expand(rows, 1, 5),
        lambda outputs: "" if (outputs[..., STRIDE] > 0).all() else "strides, at place 6, that are not above 0",
    )


def described(facts: Facts) -> str:
    shape, kinds = "x".join(map(str, facts["shape"])), facts["classes"]
    return f"{shape}, {len(kinds)} categories ({', '.join(kinds)}), up to {facts['most']} boxes an image"


DETECTION = Task(
    name="detection",
    reads=BoxedImages.reads,
    target=BOXES,
    metrics={"ap": PERCENT, "ap50": PERCENT},
    check=checked,
    learnt=learnt,
    deal=dealt,
    facts=lambda told: {"classes": len(told["classes"]), **images.facts_of(told["shape"])},
    example=images.shape_of,
    returned=returned,
    inputs=BoxedImages,
    augment=moved,
    criterion=lambda facts, seed: BoxLoss(),
    imitate=imitate,
    answer=boxes_of,
    measure=measure,
    described=described,
    told=told,
    shown={
        "AP50": ("ap50", PERCENT),
        "ap of boxes that look at no image": ("floor/ap", PERCENT),
        "AP50 of them": ("floor/ap50", PERCENT),
    },
    pictures={
        "boxes": Picture(drawn, "boxes_drawn", (images.IMAGE,), DRAWN),
        "precision_recall": Picture(recalled, "precision_recall"),
    },
    reduced=fewer_images,
)
