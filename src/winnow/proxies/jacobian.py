"""Scores of how differently a network answers different images: Jacobian covariance and EPE-NAS."""

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused
from winnow.proxies.common import WORST, Batch, gradients, labelled, logits, settled, several, working_copy

K = 1e-5  # keeps logarithms and reciprocals finite


def jacob_cov(model: nn.Module, batch: Batch) -> float:
    """-sum of ln(v + k) + 1/(v + k) over the eigenvalues v of the correlation of the images' Jacobians.

    A row of the Jacobian is the gradient of an image's summed logits to its pixels, in training mode: BatchNorm couples
    the images, as published (Mellor et al. 2020). At most -n. A network that ignores its image has the worst score.
    Of a network that averages BatchNorms into its logits without a ReLU between, as DARTS does, it tells nothing:
    the batch's sum of logits is then a constant, and the Jacobian rounding errors.
    """
    rows, _ = _jacobian(model, several(batch))
    return jacob_cov_of(rows)


def epe(model: nn.Module, batch: Batch) -> float:
    """EPE-NAS (Lopes et al. 2021): the logarithms of the Jacobians' correlations, class by class.

    Up to 100 classes: the sum of |s_c|, s_c the sum of ln(|correlation| + k) over the pairs of class c. Above: s_c per
    image, the sum of |s_c - s_d| over all c and d divided by the number of classes, of those with two images or more:
    the authors' code drops the others there. Refused where no class has two images.
    """
    _, y = labelled(batch)
    return epe_of(*_jacobian(model, several(batch)), y)


def jacob_cov_of(rows: Tensor) -> float:
    """`jacob_cov` of the Jacobian's rows (n, pixels), float64."""
    return from_correlation(torch.corrcoef(rows)) if _varied(rows) else _worst(rows)


def epe_of(rows: Tensor, classes: int, y: Tensor) -> float:
    """`epe` of the Jacobian's rows (n, pixels), float64, of images with labels `y` out of `classes`."""
    members = [torch.atleast_2d(rows[y == c]) for c in torch.unique(y)]
    if max(len(m) for m in members) < 2:
        raise Refused("epe compares images of one class: every class has one image only; use a larger batch")
    if not _varied(rows):
        return _worst(rows)
    if classes > 100:  # one image has no correlation with another of its class
        members = [m for m in members if len(m) > 1]
    sums = torch.stack([from_class(torch.atleast_2d(torch.corrcoef(m))) for m in members])
    if classes <= 100:
        return settled(sums.abs().sum())
    sums = sums / torch.tensor([len(m) for m in members], dtype=sums.dtype, device=sums.device)
    return settled((sums[:, None] - sums[None]).abs().sum() / len(sums))


def from_correlation(correlation: Tensor) -> float:
    values = torch.linalg.eigvalsh((correlation + correlation.T) / 2)
    return settled(-(torch.log(values + K) + 1 / (values + K)).sum())


def from_class(correlation: Tensor) -> Tensor:
    return torch.log(correlation.abs() + K).sum()


def _jacobian(model: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    x = x.detach().clone().requires_grad_()
    output = logits(working_copy(model), x)
    return jacobian_rows(output, x), output.shape[-1]


def jacobian_rows(output: Tensor, x: Tensor) -> Tensor:
    """(n, pixels) float64: for each image the gradient of its summed logits; NaN where logits are not finite."""
    (rows,) = gradients(output.sum(), [x])
    rows = rows if bool(output.isfinite().all()) else rows * torch.nan
    return rows.flatten(1).double()


def _varied(rows: Tensor) -> bool:
    return bool((rows.var(1) > 0).all())


def _worst(rows: Tensor) -> float:
    return -WORST if bool(rows.isfinite().all()) else float("nan")
