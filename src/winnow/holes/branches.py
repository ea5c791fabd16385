"""Cells in which any subset of operations may be on (NSE)."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from winnow.core.decision import Decision, Value
from winnow.core.holes import Asking, key_of


class Branches(Asking):
    """The mean of what up to `most` of the candidates return; `passing`, of the input too, and then none may be on.

    The input is one more branch where it passes, and a cell without any other is the input itself: that is how depth is
    open. The mean keeps the scale whatever is on (Ci et al. 2021, arXiv:2011.10904). Weights (options,) are gates, and
    their sum is the denominator.
    """

    mixes = True

    def __init__(self, name: str, candidates: Mapping[str, nn.Module], most: int, passing: bool):
        options = tuple(candidates)
        super().__init__(Decision(name, options, min(most, len(options)), least=0 if passing else 1))
        self.candidates = nn.ModuleDict({key_of(option): module for option, module in candidates.items()})
        self.passing = passing

    def forward(self, x: Any) -> Any:
        value = self.posted(self.decision)
        if isinstance(value, Tensor):
            value = dict(zip(self.decision.options, value.unbind(), strict=True))
        if not isinstance(value, Mapping):
            return mean(x, self.kept(value), self.passing)
        if all(isinstance(answer, tuple) for answer in value):
            return sum(w * mean(x, self.kept(answer), self.passing) for answer, w in value.items())
        gated = [w * self.kept((option,))[0](x) for option, w in value.items() if not isinstance(option, tuple)]
        return sum(gated, x if self.passing else 0) / sum(value.values(), 1.0 if self.passing else 0.0)

    def kept(self, value: Value) -> list[nn.Module]:
        assert isinstance(value, tuple)
        return [self.candidates[key_of(option)] for option in value]

    def decided(self, value: Value) -> nn.Module:
        kept = self.kept(value)
        if len(kept) + self.passing == 1:
            return kept[0] if kept else nn.Identity().train(self.training)
        cell = Mean(kept, self.passing)
        cell.training = self.training  # not train(): what was frozen in evaluation mode stays so
        return cell


class Mean(nn.ModuleList):
    """The mean of what its modules return and, `passing`, of their input."""

    def __init__(self, modules: Iterable[nn.Module], passing: bool):
        super().__init__(modules)
        self.passing = passing

    def forward(self, x: Any) -> Any:
        return mean(x, self, self.passing)


def mean(x: Any, modules: Iterable[nn.Module], passing: bool) -> Any:
    terms = [*([x] if passing else []), *(module(x) for module in modules)]
    return terms[0] if len(terms) == 1 else sum(terms[1:], terms[0]) / len(terms)
