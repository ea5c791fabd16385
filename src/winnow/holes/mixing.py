"""When a cell may compute its candidates together, and which of them count."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from winnow.core.holes import Asking, Hole, Weights


def mixing(modules: Iterable[nn.Module]) -> bool:
    """Whether a setting with mixture weights is posted to these holes, and not asked to be computed plainly.

    Weights that differ from example to example are for holes one by one: see `differing`.
    """
    posted = _posted(modules)
    return bool(posted) and not any(map(_of_examples, posted))


def differing(modules: Iterable[nn.Module]) -> bool:
    """Whether mixture weights are posted to these holes that each example has its own of, likewise."""
    return any(map(_of_examples, _posted(modules)))


def _posted(modules: Iterable[nn.Module]) -> list[Weights]:
    hole = next((module for module in modules if isinstance(module, Hole)), None)
    if hole is None or hole.board.plain:
        return []
    return [value for value in hole.board.setting.values() if isinstance(value, Tensor | Mapping)]


def _of_examples(value: Weights) -> bool:
    if isinstance(value, Tensor):
        return value.dim() > 1
    return any(weight.dim() > 0 for weight in value.values())


def counting(hole: Asking, device: torch.device) -> dict[str, Tensor]:
    """The options of `hole` that count in the posted setting, each with its weight ().

    An option answered is one of weight 1. On the CPU, weights that are zero and ask for no gradient are left out: such
    options cost nothing, and nothing of theirs is trained. Elsewhere a look at a weight would wait for the device, edge
    by edge: sums are the same, and what weighs nothing has gradients of zero.
    """
    value = hole.posted(hole.decision)
    if isinstance(value, Mapping):
        return {str(option): weight for option, weight in value.items()}
    if not isinstance(value, Tensor):
        one = torch.ones((), device=device)
        return {str(option): one for option in (value if isinstance(value, tuple) else (value,))}
    looks = value.is_cpu and not value.requires_grad
    counts = [weight != 0 for weight in value.tolist()] if looks else [True] * len(value)
    options = zip(hole.decision.options, value.unbind(), counts, strict=True)
    return {str(option): weight for option, weight, count in options if count}
