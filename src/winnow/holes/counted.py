"""A number in a network's code that counts channels: of a view, a split, a slice."""

from collections.abc import Mapping, Sequence

from torch import nn

from winnow.core.decision import Decision, Value
from winnow.core.holes import Hole
from winnow.holes.cut import Axis


class Counted(Hole):
    """Called with nothing, it returns how many places of `axis` remain."""

    def __init__(self, decisions: Sequence[Decision], axis: Axis):
        super().__init__(*decisions)
        self.axis = axis

    def forward(self) -> int:
        return self._count(self.answers())

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        told = Told(self._count(answers))
        told.training = self.training
        return told

    def _count(self, answers: Mapping[str, Value]) -> int:
        kept = self.axis.kept(answers)
        return len(self.axis.names) if kept is None else len(kept)


class Told(nn.Module):
    """Called with nothing, it returns `number`."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def forward(self) -> int:
        return self.number
