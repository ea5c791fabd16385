"""Boxes x1, y1, x2, y2 beside each other: how far they overlap, and which of them say the same."""

import torch
from torch import Tensor

TINY = 1e-9


def area(boxes: Tensor) -> Tensor:
    """(..., 4) to (...): 0 where a box has no inside."""
    return (boxes[..., 2:4] - boxes[..., :2]).clamp(min=0).prod(-1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of each of `a` (..., n, 4) with each of `b` (..., m, 4): (..., n, m), 0 to 1."""
    a, b = a[..., :, None, :], b[..., None, :, :]
    common = _common(a, b)
    return common / (area(a) + area(b) - common).clamp(min=TINY)


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of pairs (..., 4): (...), -1 to 1 (Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1)."""
    common = _common(a, b)
    union = (area(a) + area(b) - common).clamp(min=TINY)
    hull = torch.cat([torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:4], b[..., 2:4])], -1)
    whole = area(hull).clamp(min=TINY)
    return common / union - (whole - union) / whole


def kept(boxes: Tensor, scores: Tensor, kinds: Tensor, threshold: float) -> Tensor:
    """Non-maximum suppression of many images at once: (b, n) bool, whether a box stays.

    boxes (b, n, 4), scores and kinds (b, n). From the highest score on, a box goes if one that stays overlaps it by
    more than `threshold` and is of the same kind; of equal scores the earlier box is first. All boxes are judged at
    once by those that are known to stay, again and again until nothing changes: each turn settles one more box at
    least, and what does not change is the answer of going through them one by one.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    kinds = kinds.gather(1, order)
    rivals = (iou(boxes, boxes) > threshold) & (kinds[:, :, None] == kinds[:, None, :])
    rivals = rivals.triu(1)  # of a pair, the row has the higher score
    stays = torch.ones_like(kinds, dtype=torch.bool)
    while True:
        now = ~(rivals & stays[:, :, None]).any(1)
        if torch.equal(now, stays):
            return torch.zeros_like(stays).scatter(1, order, stays)
        stays = now


def _common(a: Tensor, b: Tensor) -> Tensor:
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:4], b[..., 2:4])
    return (high - low).clamp(min=0).prod(-1)
