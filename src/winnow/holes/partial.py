"""Partial channels: only a share of a map passes the candidates, the rest passes by (PC-DARTS)."""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.holes import Choice, Hole, key_of
from winnow.core.replace import replace
from winnow.core.space import Space


def partial_channels(space: Space, share: int) -> Space:
    """A copy of `space` whose candidates take one channel of `share`; equal decisions, so that its answers carry over.

    Weights are new. Refused where candidates have widths that `share` does not divide, hold parameters elsewhere than
    in convolutions and BatchNorms, or change the number of channels. Source: Xu et al. 2020, arXiv:1907.05737.
    """

    def rule(path: str, module: nn.Module) -> Hole | None:
        if not isinstance(module, Choice) or module.decision.several:
            return None
        routes = any(isinstance(each, Hole) for each in module.candidates.modules())  # among states, to other choices
        return None if routes else Partial(module, share)

    partial = replace(space.model, rule)
    partial.board.plain = True  # cells that compute candidates together know nothing of shares
    return partial


class Partial(Choice):
    """A choice over one channel of `share`; takes and returns whole maps."""

    def __init__(self, choice: Choice, share: int):
        d = choice.decision
        candidates = {option: narrowed(choice.candidates[key_of(option)], share) for option in d.options}
        super().__init__(d.name, candidates, mixture_only=d.mixture_only)
        self.share = share

    def forward(self, x: Tensor, **named: Any) -> Tensor:
        return _around(functools.partial(super().forward, **named), x, self.share)

    def decided(self, value: Value) -> nn.Module:
        child = PartialChild(super().decided(value), self.share)
        child.training = self.training
        return child


class PartialChild(nn.Module):
    """`module` over one channel of `share`."""

    def __init__(self, module: nn.Module, share: int):
        super().__init__()
        self.module, self.share = module, share

    def forward(self, x: Tensor, **named: Any) -> Tensor:
        return _around(functools.partial(self.module, **named), x, self.share)


def narrowed(module: nn.Module, share: int) -> nn.Module:
    """A fresh copy of `module` with a `share`-th of the channels everywhere."""
    if isinstance(module, nn.Conv2d) and next(module.children(), None) is None:  # not one that holds another's offsets
        groups = max(1, module.groups // share)
        channels = _part(module.in_channels, share), _part(module.out_channels, share)
        form: dict[str, Any] = {n: getattr(module, n) for n in ("kernel_size", "stride", "padding", "dilation")}
        return nn.Conv2d(*channels, **form, groups=groups, bias=module.bias is not None)
    if isinstance(module, nn.BatchNorm2d):
        return nn.BatchNorm2d(_part(module.num_features, share), affine=module.affine)
    if next(module.parameters(recurse=False), None) is not None:
        raise Refused(
            f"partial channels narrow convolutions and BatchNorms, and know no {type(module).__name__}: "
            "search this space with another strategy than pc_darts"
        )
    copied = copy.copy(module)
    copied._modules = {
        name: None if child is None else narrowed(child, share) for name, child in module._modules.items()
    }
    return copied


def _part(channels: int, share: int) -> int:
    if channels % share:
        raise Refused(
            f"search.pc_darts.share is {share}, which does not divide the {channels} channels of a candidate: "
            "take a divisor, or more channels in the space"
        )
    return channels // share


def _around(mix: Callable[[Tensor], Tensor], x: Tensor, share: int) -> Tensor:
    width = x.shape[1] // share
    mixed, rest = mix(x[:, :width]), x[:, width:]
    if mixed.shape[1] != width:
        raise Refused(
            f"partial channels pass by candidates that keep the number of channels, not from {width} to "
            f"{mixed.shape[1]}: search this space with another strategy than pc_darts"
        )
    if mixed.shape[2:] != rest.shape[2:]:
        rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
    return F.channel_shuffle(torch.cat([mixed, rest], 1).contiguous(), share)
