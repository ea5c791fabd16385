"""A chain of modules whose length is open."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from winnow.core.decision import Decision, Value
from winnow.core.holes import Asking


class Depth(Asking):
    """The first so many of `modules`, one after another; what is left out takes no part and gets no gradient.

    Shorter selves are beginnings of longer ones (Cai et al. 2020, arXiv:1908.09791, section 3.2). ValueError on a depth
    that there is not.
    """

    def __init__(self, name: str, modules: Iterable[nn.Module], depths: tuple[int, ...]):
        super().__init__(Decision(name, depths))
        self.chain = nn.ModuleList(modules)
        if wrong := [depth for depth in depths if not 0 <= depth <= len(self.chain)]:
            raise ValueError(f"decision {name!r}: a chain of {len(self.chain)} has no depth {wrong[0]}")

    def forward(self, x: Any) -> Any:
        for module in self.kept(self.answers()[self.decision.name]):
            x = module(x)
        return x

    def kept(self, value: Value) -> list[nn.Module]:
        assert isinstance(value, int)
        return list(self.chain[:value])

    def decided(self, value: Value) -> nn.Module:
        chain = nn.Sequential(*self.kept(value))
        chain.training = self.training  # not train(): what was frozen in evaluation mode stays so
        return chain
