"""The largest eigenvalue of the Hessian of a loss over the logits, and the rule of early stopping that reads it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from winnow.core.space import Space
from winnow.search.gradients import Objective, frozen
from winnow.train.evaluate import Batch, batch_statistics

EVERY, WINDOW, BACK, SETTLED, GROWTH = 2, 5, 4, 10, 1.3  # Zela et al. 2020, public code
KEPT = BACK + WINDOW // 2 + 1  # measurements from the centre of the earlier window to now


@contextmanager
def hessian(
    space: Space, objective: Objective, batch: Batch, logits: Mapping[str, Tensor]
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Inside, a function from v to H v, H the Hessian of the loss over all logits one after another (n,).

    Exact: the gradient is differentiated again. A difference of gradients to both sides is none on a network with
    ReLUs: at steps of 0.01 thousands of them switch. A product costs about two gradients.
    """
    flat = torch.cat([vector.detach() for vector in logits.values()]).requires_grad_()
    parts = flat.split([len(vector) for vector in logits.values()])
    setting = {name: part.softmax(0) for name, part in zip(logits, parts, strict=True)}
    with frozen(space), batch_statistics(space), sdpa_kernel(SDPBackend.MATH):  # others have no second derivative
        (slope,) = torch.autograd.grad(objective(batch, setting), flat, create_graph=True)
        yield lambda v: torch.autograd.grad(slope, flat, v.to(slope), retain_graph=True)[0].cpu().double()


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor], size: int, tolerance: float = 0.05, most: int = 40
) -> float:
    """Of the symmetric matrix (size, size) behind `product`: the largest, not the largest in size.

    Lanczos with full orthogonalisation from a fixed random start, until the residual is below `tolerance` times the
    value found (an eigenvalue is no farther away than that, and in practice much closer), or after `most` products. NaN
    where a product is not finite.
    """
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    while True:
        away = product(basis[-1])
        if not away.isfinite().all():
            return math.nan
        diagonal.append(float(away @ basis[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # once is not enough in floating point
            away = away - known.T @ (known @ away)
        small = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        for i, value in enumerate(beside):
            small[i, i + 1] = small[i + 1, i] = value
        values, vectors = torch.linalg.eigh(small)
        found, rest = float(values[-1]), float(away.norm())
        if rest * abs(float(vectors[-1, -1])) <= tolerance * abs(found) or len(basis) in (size, most):
            return found
        beside.append(rest)
        basis.append(away / rest)


def centre(measured: int) -> int:
    """The epoch at the centre of the earlier of the two windows that `sharpening` compares."""
    return EVERY * (measured - KEPT)


def sharpening(eigenvalues: Sequence[float]) -> float | None:
    """By how much the running mean of the eigenvalue has grown in the last `BACK` measurements; None too early.

    Above `GROWTH`, DARTS-ES stops (Zela et al. 2020, arXiv:1909.09656).
    """
    now = len(eigenvalues)
    if centre(now) < SETTLED:
        return None
    late, early = (sum(eigenvalues[end - WINDOW : end]) / WINDOW for end in (now, now - BACK))
    return late / early if early > 0 else None
