"""Which location answers for which box, and what a detector without anchors is taught there (FCOS).

Tian et al. 2019, arXiv:1904.01355, sections 3.1 to 3.3, with centre sampling and GIoU as in the authors' later code.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.nn.boxes import area, giou
from winnow.nn.detection import BOX, CENTRE, POINT, SCORES, STRIDE

ALPHA, GAMMA = 0.25, 2.0  # Lin et al. 2017, arXiv:1708.02002
NEAR = 1.5  # strides from a box's centre
REACH = 4.0  # strides, to the farthest side of a box, that a level answers for; 8 in the paper, whose images are larger


def taken(points: Tensor, strides: Tensor, boxes: Tensor) -> Tensor:
    """For each location the place of its box among `boxes` (b, most, 5), -1 for none: (b, locations).

    points (b, locations, 2), strides (b, locations). A location takes a box that it lies in, whose centre is near and
    whose farthest side is within its level's reach: between half of `REACH` strides and all of it, the finest level
    from 0, the coarsest without end. The smallest of several boxes is taken.
    """
    x, y = (points[..., i, None] for i in (0, 1))
    x1, y1, x2, y2, kind = (boxes[:, None, :, i] for i in range(5))
    sides = torch.stack([x - x1, y - y1, x2 - x, y2 - y], 3)  # (b, locations, most, 4)
    stride = strides[..., None]
    least, most = strides.amin(1)[:, None, None], strides.amax(1)[:, None, None]
    reach = sides.amax(3)
    low = torch.where(stride == least, 0.0, REACH / 2 * stride)
    high = torch.where(stride == most, torch.inf, REACH * stride)
    near = ((x - (x1 + x2) / 2).abs() < NEAR * stride) & ((y - (y1 + y2) / 2).abs() < NEAR * stride)
    takes = (sides.amin(3) > 0) & near & (reach > low) & (reach <= high) & (kind >= 0)
    size = torch.where(takes, area(boxes[..., :4])[:, None], torch.inf)
    least_size, which = size.min(2)
    return torch.where(least_size.isfinite(), which, -1)


def focal(logits: Tensor, truth: Tensor) -> Tensor:
    """The focal loss of every number, in nats; `truth` is 0 or 1, of the shape of `logits`."""
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    wrong = (logits.sigmoid() - truth).abs()
    return (ALPHA * truth + (1 - ALPHA) * (1 - truth)) * wrong**GAMMA * plain


def centreness(points: Tensor, boxes: Tensor) -> Tensor:
    """1 in the middle of a box, 0 at its sides (...): points (..., 2) inside of boxes (..., 4)."""
    low, high = points - boxes[..., :2], boxes[..., 2:4] - points
    ratios = torch.minimum(low, high) / torch.maximum(low, high)
    return ratios.clamp(min=0).prod(-1).sqrt()


class BoxLoss(nn.Module):
    """Outputs (b, locations, 8 + classes) and boxes (b, most, 5), rows of -1 being none, to one number.

    Focal loss of all classes and cross-entropy of centre-ness over the locations that take a box, and 1 - GIoU weighed
    by how central they are; each counts once. All locations are computed, and those without a box weigh nothing: to
    pick the others would ask the device how many there are.
    """

    def forward(self, outputs: Tensor, boxes: Tensor) -> Tensor:
        points, strides = outputs[..., POINT].detach(), outputs[..., STRIDE].detach()
        which = taken(points, strides, boxes)
        there = which >= 0
        true = boxes.gather(1, which.clamp(min=0)[..., None].expand(-1, -1, 5))
        logits, here = outputs[..., SCORES:], there.to(outputs.dtype)
        truth = F.one_hot(true[..., 4].long().clamp(min=0), logits.shape[2]) * here[..., None]
        count = here.sum().clamp(min=1)
        loss: Tensor = focal(logits, truth).sum() / count
        central = torch.where(there, centreness(points, true[..., :4]), 0.0)
        told = F.binary_cross_entropy_with_logits(outputs[..., CENTRE], central, here, reduction="sum")
        loss = loss + told / count
        apart = (1 - giou(outputs[..., BOX], true[..., :4])) * central
        return loss + apart.sum() / central.sum().clamp(min=1e-6)


def imitate(outputs: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of the teacher's chances, of classes and centre-ness, and sides apart in strides: of a location."""
    chances = F.binary_cross_entropy_with_logits(outputs[..., CENTRE:], teacher[..., CENTRE:].sigmoid())
    apart = (outputs[..., BOX] - teacher[..., BOX]).abs() / teacher[..., STRIDE, None].abs().clamp(min=1)
    return chances + apart.mean()
