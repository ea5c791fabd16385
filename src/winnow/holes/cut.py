"""Layers of any network, cut to some of their channels; blocks of it that can be left out.

A cut layer is the user's own class with the same code and less weight. What is kept keeps its order, so the whole layer
is the layer itself.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.decision import Decision, Value
from winnow.core.holes import Asking, Hole

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


@dataclass(frozen=True)
class Axis:
    """The channels that a layer takes or makes, and which remain: place `i` does where `below[i]` is less than what
    decision `names[i]` answers, or has no name.
    """

    names: tuple[str | None, ...]
    below: tuple[int, ...]

    def kept(self, answers: Mapping[str, Value]) -> list[int] | None:
        """The places that remain; None where all do."""
        pairs = zip(self.names, self.below, strict=True)
        kept = [i for i, (name, rank) in enumerate(pairs) if name is None or rank < answers[name]]  # type: ignore[operator]
        return None if len(kept) == len(self.names) else kept


class Cut(Hole):
    """`whole`, a layer, over the channels of `taken` and `made` that remain, with its kernel cut at the centre.

    Of a BatchNorm, and what else works on each channel by itself or on groups of them, `made` is None. Statistics of a
    BatchNorm are those of all widths together: recalibrate a child's.
    """

    def __init__(
        self,
        whole: nn.Module,
        decisions: Sequence[Decision],
        taken: Axis | None,
        made: Axis | None,
        kernel: Decision | None = None,
    ):
        super().__init__(*decisions, *([] if kernel is None else [kernel]))
        self.whole, self.taken, self.made, self.kernel = whole, taken, made, kernel

    def _cut(self, answers: Mapping[str, Value]) -> nn.Module:
        taken, made = (None if axis is None else axis.kept(answers) for axis in (self.taken, self.made))
        side = None if self.kernel is None else answers[self.kernel.name]
        assert side is None or isinstance(side, int)
        if side is not None and side == self.whole.kernel_size[0]:  # type: ignore[index]
            side = None
        return self.whole if taken is None and made is None and side is None else cut(self.whole, taken, made, side)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        answers = self.answers()
        layer = self._cut(answers)
        output = layer(*inputs, **named)
        tracks = layer.training and isinstance(layer, NORMS) and layer.track_running_stats
        if layer is not self.whole and tracks:  # else nothing moved, and autograd need not hear that it did
            kept = self.taken.kept(answers) if self.taken is not None else None
            for name in ("running_mean", "running_var"):
                statistics = getattr(self.whole, name)
                if statistics is not None:
                    statistics.index_copy_(0, _places(kept, statistics), getattr(layer, name))
        return output

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        layer = self._cut(answers)
        if layer is self.whole:
            return layer
        for name, value in layer._parameters.items():
            if value is not None:
                trained = self.whole._parameters[name].requires_grad  # type: ignore[union-attr]
                layer._parameters[name] = nn.Parameter(value.detach().clone(), requires_grad=trained)
        return layer


def cut(whole: nn.Module, taken: list[int] | None, made: list[int] | None, side: int | None) -> nn.Module:
    """A layer like `whole` that takes and makes only these of its channels (None: all), by parts of its weights."""
    layer: Any = copy.copy(whole)  # its parameters are tensors of the graph, which setattr would refuse
    layer._parameters, layer._buffers = dict(whole._parameters), dict(whole._buffers)
    if isinstance(whole, CONVOLUTIONS):
        _convolution(layer, taken, made)
        if side is not None:
            _centre(layer, side)
    elif isinstance(whole, nn.Linear):
        weight = _chosen(_chosen(whole.weight, made, 0), taken, 1)
        layer._parameters.update(weight=weight, bias=_chosen(whole.bias, made, 0))
        layer.out_features, layer.in_features = layer.weight.shape
    else:
        for store in (layer._parameters, layer._buffers):
            store.update({name: _chosen(t, taken, 0) if t is not None and t.dim() else t for name, t in store.items()})
        if taken is not None and isinstance(whole, nn.GroupNorm):  # whole groups are left out
            layer.num_groups = whole.num_groups * len(taken) // whole.num_channels
            layer.num_channels = len(taken)
        elif taken is not None:
            setattr(layer, "num_features" if isinstance(whole, NORMS) else "num_parameters", len(taken))
    cut_layer: nn.Module = layer
    return cut_layer


def _convolution(layer: Any, taken: list[int] | None, made: list[int] | None) -> None:
    """Of a grouped one whole groups are left out, or as many channels of each at the same places."""
    groups = layer.groups
    ins, outs = layer.in_channels // groups, layer.out_channels // groups
    taken = list(range(layer.in_channels)) if taken is None else taken
    made = list(range(layer.out_channels)) if made is None else made
    live = sorted({i // ins for i in taken} & {o // outs for o in made})
    within = {tuple(i % ins for i in taken if i // ins == g) for g in live}
    without = {tuple(o % outs for o in made if o // outs == g) for g in live}
    if len(within) != 1 or len(without) != 1 or len(live) * len(next(iter(within))) != len(taken):
        raise ValueError(f"groups of a convolution keep as many channels each, at the same places: {within}, {without}")
    weight = layer.weight
    if isinstance(layer, TRANSPOSED):  # (inputs, outputs of a group, *kernel)
        weight = _chosen(_chosen(weight, taken, 0), list(next(iter(without))), 1)
    else:  # (outputs, inputs of a group, *kernel)
        weight = _chosen(_chosen(weight, made, 0), list(next(iter(within))), 1)
    layer._parameters.update(weight=weight, bias=_chosen(layer.bias, made, 0))
    layer.in_channels, layer.out_channels, layer.groups = len(taken), len(made), len(live)


def _centre(layer: Any, side: int) -> None:
    weight = layer.weight
    for d, whole in enumerate(layer.kernel_size, 2):
        weight = weight.narrow(d, (whole - side) // 2, side)
    layer._parameters["weight"] = weight.contiguous()
    spans = zip(layer.padding, layer.dilation, layer.kernel_size, strict=True)
    layer.padding = tuple(p - d * (whole - side) // 2 for p, d, whole in spans)
    layer.kernel_size = (side,) * len(layer.kernel_size)
    layer._reversed_padding_repeated_twice = [p for p in reversed(layer.padding) for _ in range(2)]


def _chosen(tensor: Tensor | None, kept: list[int] | None, d: int) -> Tensor | None:
    if tensor is None or kept is None or len(kept) == tensor.shape[d]:
        return tensor
    return tensor.index_select(d, _places(kept, tensor))


def _places(kept: list[int] | None, tensor: Tensor) -> Tensor:
    return torch.tensor(range(tensor.shape[0]) if kept is None else kept, device=tensor.device)


class Skipped(nn.Module):
    """In the place of a block that is left out: what comes passes."""

    def forward(self, x: Any, *others: Any, **named: Any) -> Any:
        return x


class Kept(Asking):
    """Block number `place` of a chain, there where that is longer. All blocks of the chain share `decision`."""

    def __init__(self, decision: Decision, place: int, block: nn.Module):
        super().__init__(decision)
        self.place, self.block = place, block

    def forward(self, x: Any, *others: Any, **named: Any) -> Any:
        for module in self.kept(self.answers()[self.decision.name]):
            x = module(x, *others, **named)
        return x

    def kept(self, value: Value) -> list[nn.Module]:
        assert isinstance(value, int)
        return [self.block] if value > self.place else []

    def decided(self, value: Value) -> nn.Module:
        for block in self.kept(value):
            return block
        skipped = Skipped()
        skipped.training = self.training
        return skipped
