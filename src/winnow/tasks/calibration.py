"""How far a network's confidence is from how often it is right."""

import torch
from torch import Tensor


def reliability(confidence: Tensor, right: Tensor, bins: int = 15) -> tuple[float, list[dict[str, float]]]:
    """Expected calibration error in points of percent, and the bins behind it (Guo et al. 2017, arXiv:1706.04599).

    `confidence` (n,) is the probability given to the predicted class, `right` (n,) whether it was the true one.
    """
    return expected(confidence, right, bins, ("confidence", "accuracy"))


def expected(
    confidence: Tensor, right: Tensor, bins: int = 15, names: tuple[str, str] = ("confidence", "accuracy")
) -> tuple[float, list[dict[str, float]]]:
    """The same of any chances (n,) and whether what they are of came (n,); `names` are those of the columns."""
    chance, came = names
    confidence, right = confidence.cpu().double(), right.cpu().double()
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    which = torch.bucketize(confidence, edges[1:-1])  # a bin holds its upper edge, the first one 0 as well
    rows, error = [], 0.0
    for i in range(bins):
        inside = which == i
        count = int(inside.sum())
        row = {f"{chance}_low": float(edges[i]), f"{chance}_high": float(edges[i + 1]), "count": count}
        if count:
            sure, true = float(confidence[inside].mean()), float(right[inside].mean())
            error += 100 * count / len(confidence) * abs(sure - true)
            rows.append({**row, chance: sure, came: true})
    return error, rows
