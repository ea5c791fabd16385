"""Layers of an open embedding size: smaller selves have the beginning of each axis that follows it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from winnow.core.decision import Number, Value
from winnow.holes.elastic import Elastic

Make = Callable[[int], nn.Module]


def narrowed(k: Number | int, make: Make, *, gathers: bool = False) -> nn.Module:
    """`make(k)`, or the hole that becomes it once `k` is decided."""
    return make(k) if isinstance(k, int) else (Gathered if gathers else Narrowed)(k, make)


class Narrowed(Elastic):
    """What `make` builds for any size k; its `narrow` names parameters and which of their axes follow k."""

    def __init__(self, k: Number, make: Make):
        super().__init__(k=k)
        self.make, self.whole = make, make(k.largest)

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = functional_call(self.whole, self._cut(self.sizes(self.answers())["k"]), inputs)
        return found

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        k = self.sizes(answers)["k"]
        with torch.device("meta"):
            plain = self.make(k)
        for name, value in self._cut(k).items():
            kept = self.whole.get_parameter(name).requires_grad
            setattr(plain, name, nn.Parameter(value.detach().clone(), requires_grad=kept))
        for name, buffer in self.whole.named_buffers():  # none of them follows k
            setattr(plain, name, buffer.clone())
        return plain.train(self.whole.training)

    def _cut(self, k: int) -> dict[str, Tensor]:
        """All parameters, in memory as a child has them, so that both compute the same bits."""
        axes: Mapping[str, Any] = getattr(self.whole, "narrow", {})
        found = {}
        for name, whole in self.whole.named_parameters():
            value: Tensor = whole
            for axis in axes.get(name, ()):
                value = value.narrow(axis, 0, k)
            found[name] = value.contiguous()
        return found


class Gathered(Narrowed):
    """The same of a table of vectors: rows are looked up first and cut then, as a table is too large to copy."""

    def forward(self, *inputs: Tensor) -> Tensor:
        found: Tensor = self.whole(*inputs)[..., : self.sizes(self.answers())["k"]].contiguous()
        return found
