"""What a detector found, to look at: boxes in the images where it errs most, and precision against recall."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from winnow.nn.boxes import iou
from winnow.tasks.found_boxes import PLACES, boxes_of, precision
from winnow.tasks.task import Facts, Rows

SHOWN = 0.4  # the least score of a box that is drawn
MOST_IMAGES = 8
DRAWN = (
    f"The images with most errors of the first model, and boxes with a score of {SHOWN} or more; right is one that "
    "overlaps a true box of its category by half, and what is left of these is missed."
)
FOUND, MISSED, WRONG, IMAGE = "found", "missed", "wrong", "image"


def drawn(outputs: Sequence[Tensor], boxes: Tensor, facts: Facts, pixels: Tensor) -> Rows:
    """Of the first model, the images with most errors: a row with the image itself, then one a box.

    A found box is right where it overlaps a true one of its category by half that no better one took.
    """
    found = boxes_of(outputs[0])
    judged = [_judged(one, true) for one, true in zip(found, boxes, strict=True)]
    errors = torch.tensor([sum(kind in (MISSED, WRONG) for kind, _ in each) for each in judged])
    rows: Rows = []
    for place in errors.argsort(descending=True, stable=True)[:MOST_IMAGES].sort().values.tolist():
        rows.append(_row(place, IMAGE, "", [None] * 5, png(pixels[place].numpy())))
        for kind, box in judged[place]:
            score = None if len(box) == 5 else box[4]
            rows.append(_row(place, kind, facts["classes"][int(box[-1])], [*box[:4], score], ""))
    return rows


def _judged(found: Tensor, boxes: Tensor) -> list[tuple[str, list[float]]]:
    """The boxes of one image, each as it is drawn: what was found right or wrong, and what was missed."""
    found, boxes = found[found[:, 4] >= SHOWN], boxes[boxes[:, 4] >= 0]
    overlap = iou(found[:, :4], boxes[:, :4]) * (found[:, 5:] == boxes[:, 4])
    left = torch.ones(len(boxes), dtype=torch.bool)
    told: list[tuple[str, list[float]]] = []
    for row, box in zip(overlap, found.tolist(), strict=True):  # the best score first
        fits = (row >= 0.5) & left
        if fits.any():
            left[(row * fits).argmax()] = False
        told.append((FOUND if fits.any() else WRONG, box))
    return [*told, *((MISSED, box) for box in boxes[left].tolist())]


def _row(place: int, kind: str, category: str, numbers: Sequence[float | None], image: str) -> dict[str, Any]:
    told = [None if each is None else round(each, 3) for each in numbers]
    named = dict(zip(("x1", "y1", "x2", "y2", "score"), told, strict=True))
    return {"image": place, "kind": kind, "category": category, **named, "png": image}


def recalled(outputs: Sequence[Tensor], boxes: Tensor, facts: Facts) -> Rows:
    """Precision at every hundredth of recall for a box that overlaps by half, by category: the mean over models."""
    classes = facts["classes"]
    mean = np.mean([precision(boxes_of(each), boxes, len(classes))[0] for each in outputs], 0)
    return [
        {"category": name, "recall": float(recall), "precision": float(mean[place, number])}
        for number, name in enumerate(classes)
        for place, recall in enumerate(PLACES)
    ]


def png(pixels: np.ndarray) -> str:
    """An image (channels, height, width) uint8 as text."""
    shown = pixels[0] if len(pixels) != 3 else pixels.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
