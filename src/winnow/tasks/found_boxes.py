"""From what a detector says of every location to boxes, and how right they are: average precision."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.nn.boxes import kept
from winnow.nn.detection import BOX, CENTRE, POINT, SCORES, STRIDE
from winnow.system.extra import needed

LEAST = 0.001  # score of a box that is looked at
LOOKED_AT, MOST = 300, 100  # boxes an image before suppression, and after it
OVERLAP = 0.6  # of two boxes of one category that are the same thing
AT_ONCE = 16  # images: suppression holds a square of all boxes of each
IOUS = np.linspace(0.5, 0.95, 10)  # of COCO
PLACES = np.linspace(0, 1, 101)  # of recall, likewise


def boxes_of(outputs: Tensor) -> Tensor:
    """(b, locations, 8 + classes) to (b, 100, 6): x1, y1, x2, y2, score, category, best first; rows of -1 are no box.

    A score is the root of the chances of a class and of centre-ness, multiplied.
    """
    return torch.cat([_boxes_of(part) for part in outputs.float().split(AT_ONCE)])


def _boxes_of(outputs: Tensor) -> Tensor:
    logits = outputs[..., SCORES:]
    scores = (logits.sigmoid() * outputs[..., CENTRE, None].sigmoid()).sqrt().flatten(1)
    scores, places = (each[:, :LOOKED_AT] for each in scores.sort(dim=1, descending=True, stable=True))
    which, kinds = places // logits.shape[2], places % logits.shape[2]
    edge = (outputs[..., POINT] + outputs[..., STRIDE, None] / 2)[outputs[..., STRIDE] == outputs[..., STRIDE].min()]
    limits = edge.max(0).values if len(edge) else outputs.new_zeros(2)  # the image's sides, up to a finest stride
    boxes = outputs[..., BOX].gather(1, which[..., None].expand(-1, -1, 4)).clamp(min=0)
    boxes = torch.minimum(boxes, limits.repeat(2))
    stays = kept(boxes, scores, kinds, OVERLAP) & (scores > LEAST)
    rows = torch.cat([boxes, scores[..., None], kinds[..., None].to(boxes.dtype)], 2)
    rows = torch.where(stays[..., None], rows, -1.0)
    first = (~stays).to(torch.int8).argsort(dim=1, stable=True)[:, :MOST]
    rows = rows.gather(1, first[..., None].expand(-1, -1, 6))
    return torch.cat([rows, rows.new_full((len(rows), MOST - rows.shape[1], 6), -1.0)], 1)


def average_precision(found: Tensor, boxes: Tensor, classes: int) -> dict[str, Any]:
    """In percent: `ap` (mean over IoU 0.5 to 0.95), `ap50`, and both by class; None of a class that is nowhere.

    found (n, k, 6) as `boxes_of` gives them, boxes (n, most, 5) with the category last; rows of -1 are none. Computed
    as COCO does (Lin et al. 2014, arXiv:1405.0312), at most 100 boxes an image. Refused without the extra detection.
    """
    told = precision(found, boxes, classes)
    there = [bool((boxes[..., 4] == number).any()) for number in range(classes)]
    by_class = [100 * told[:, :, number] if there[number] else None for number in range(classes)]

    def mean(ious: int) -> list[float | None]:
        return [None if each is None else float(each[:ious].mean()) for each in by_class]

    def over(values: list[float | None]) -> float:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else 0.0

    all_, half = mean(len(IOUS)), mean(1)
    return {"ap": over(all_), "ap50": over(half), "per_class": all_, "per_class_50": half}


def precision(found: Tensor, boxes: Tensor, classes: int) -> np.ndarray:
    """(ious, places of recall, classes), 0 to 1, by faster-coco-eval; zeros where nothing was found."""
    package = needed("faster_coco_eval", "detection")
    return _precision(package, found.double().cpu().numpy(), boxes.double().cpu().numpy(), classes)


def _precision(package: Any, found: np.ndarray, boxes: np.ndarray, classes: int) -> np.ndarray:
    rows, places = np.nonzero(boxes[..., 4] >= 0)
    at, ranks = np.nonzero(found[..., 4] > 0)
    if not len(rows) or not len(at):
        return np.zeros((len(IOUS), len(PLACES), classes))
    truth = package.COCO(
        {
            "images": [{"id": number + 1} for number in range(len(boxes))],
            "categories": [{"id": number + 1, "name": str(number)} for number in range(classes)],
            "annotations": [
                {"id": number + 1, "image_id": int(row) + 1, "iscrowd": 0, **_entry(boxes[row, place, :4], box[4])}
                for number, (row, place, box) in enumerate(zip(rows, places, boxes[rows, places], strict=True))
            ],
        }
    )
    answers = truth.loadRes(
        [
            {"image_id": int(row) + 1, "score": float(box[4]), **_entry(box[:4], box[5])}
            for row, box in zip(at, found[at, ranks], strict=True)
        ]
    )
    judge = package.COCOeval_faster(truth, answers, "bbox", print_function=lambda *_: None)
    judge.params.areaRng, judge.params.areaRngLbl, judge.params.maxDets = [[0, 1e10]], ["all"], [MOST]
    judge.evaluate()
    judge.accumulate()
    return np.asarray(judge.eval["precision"])[:, :, :, 0, 0].clip(min=0)


def _entry(box: np.ndarray, category: float) -> dict[str, Any]:
    x1, y1, x2, y2 = map(float, box)
    return {"category_id": int(category) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
