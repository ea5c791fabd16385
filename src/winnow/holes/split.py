"""A chain that several networks share up to a layer that is open (NEAS)."""

import itertools
from collections.abc import Sequence
from typing import Any

from torch import nn

from winnow.core.decision import Decision, Value
from winnow.core.holes import Asking
from winnow.holes.ensemble import Ensemble, branched


class Split(Asking):
    """The first so many layers of `shared`; then each of `members` goes on alone, and ends in its head.

    All have a module for every layer, of which those of `members` before the earliest split and those of `shared`
    after the latest are never asked. In training it returns what each member says, else the mean.
    """

    def __init__(
        self,
        name: str,
        splits: tuple[int, ...],
        shared: Sequence[nn.Module],
        members: Sequence[Sequence[nn.Module]],
        heads: Sequence[nn.Module],
    ):
        super().__init__(Decision(name, splits))
        if wrong := [at for at in splits if not 0 <= at <= len(shared)]:
            raise ValueError(f"decision {name!r}: {len(shared)} layers cannot split after {wrong[0]}")
        self.first = min(splits)
        self.shared = nn.ModuleList(shared[: max(splits)])
        self.members = nn.ModuleList(nn.ModuleList(layers[self.first :]) for layers in members)
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Any) -> Any:
        at = self.answers()[self.decision.name]
        assert isinstance(at, int)
        for layer in self.shared[:at]:
            x = layer(x)
        return branched(x, self._branches(at), self.training)

    def kept(self, value: Value) -> list[nn.Module]:
        assert isinstance(value, int)
        return [*self.shared[:value], *itertools.chain.from_iterable(self._branches(value))]

    def decided(self, value: Value) -> nn.Module:
        assert isinstance(value, int)
        child = Ensemble(nn.Sequential(*self.shared[:value]), self._branches(value))
        for part in (child, child.trunk, child.branches, *child.branches):
            part.training = self.training  # not train(): what was frozen in evaluation mode stays so
        return child

    def _branches(self, at: int) -> list[nn.Sequential]:
        pairs = zip(self.members, self.heads, strict=True)
        return [nn.Sequential(*list(layers.children())[at - self.first :], head) for layers, head in pairs]
