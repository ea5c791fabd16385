"""Modules with open decisions inside."""

import functools
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.autograd import Variable

from winnow.core.decision import Decision, Value

NUMBER = "+number"  # beside the answers that count: a number () added to the whole of their sum
# (options,), or () for each of the answers that count and for `NUMBER`; of each example (options, batch), or (batch,)
Weights = Tensor | Mapping[Value, Tensor]
Setting = Mapping[str, Value | Weights]  # an architecture, mixture weights, or some of each


class Board:
    """One per space and shared by its holes, so that posting a setting is one assignment.

    A space may compute mixtures faster than by its holes one by one; `plain` asks it not to.
    """

    def __init__(self) -> None:
        self.setting: Setting = {}
        self.plain = False

    def recall(self, setting: Setting, _: Tensor) -> None:
        """Post `setting` once more until the running backward pass ends: a hook of what a forward pass returned.

        Activation checkpointing runs parts of that forward pass again, and each graph has a setting of its own.
        """
        self.setting = setting
        Variable._execution_engine.queue_callback(self.clear)

    def clear(self) -> None:
        self.setting = {}


class Hole(nn.Module):
    """A module that answers to its decisions complete. Kinds differ in `inside`, `settled` and `forward`.

    Those that `mixes` take mixture weights for an answer too. A hole of several decisions is a leaf: nothing is open
    inside it.
    """

    mixes = False

    def __init__(self, *decisions: Decision):
        super().__init__()
        self.decisions = decisions
        self.board = Board()

    def posted(self, decision: Decision) -> Value | Weights:
        """What the current setting says of one of its decisions; an undecided subset keeps all (DARTS nodes)."""
        value = self.board.setting.get(decision.name, decision.options if decision.several else None)
        if value is None:
            raise LookupError(f"no value for decision {decision.name!r}: call space(x, setting)")
        return value

    def answers(self) -> dict[str, Value]:
        """The posted setting's answers to all of its decisions. LookupError where one is a mixture."""
        found: dict[str, Value] = {}
        for d in self.decisions:
            value = self.posted(d)
            if isinstance(value, Tensor | Mapping):
                raise LookupError(f"decision {d.name!r} ({type(self).__name__}) takes one of {d.options}, no mixture")
            found[d.name] = value
        return found

    def inside(self, answers: Mapping[str, Value]) -> list[nn.Module]:
        """The sub-modules that remain under these answers, in which more may be open."""
        return []

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        """The ordinary module that this hole becomes under these answers; its parts keep their mode."""
        raise NotImplementedError


class Asking(Hole):
    """A hole of one decision. Kinds differ in `kept`, `decided` and `forward`."""

    def __init__(self, decision: Decision):
        super().__init__(decision)

    @property
    def decision(self) -> Decision:
        return self.decisions[0]

    def inside(self, answers: Mapping[str, Value]) -> list[nn.Module]:
        return self.kept(answers[self.decision.name])

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        return self.decided(answers[self.decision.name])

    def kept(self, value: Value) -> list[nn.Module]:
        """The sub-modules that remain when the decision is answered with `value`."""
        raise NotImplementedError

    def decided(self, value: Value) -> nn.Module:
        """The ordinary module that this hole becomes when answered with `value`; its parts keep their mode."""
        raise NotImplementedError


class Choice(Asking):
    """One candidate, or the sum of `pick`, or of `least` to `pick`. All candidates take the same inputs and return one
    shape.

    >>> from winnow import Choice, Space
    >>> space = Space(nn.Sequential(nn.Linear(2, 2), Choice("act", {"relu": nn.ReLU(), "tanh": nn.Tanh()})))
    >>> space.derive({"act": "tanh"})
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): Tanh()
    )
    """

    mixes = True

    def __init__(
        self,
        name: str,
        candidates: Mapping[str | int, nn.Module] | Mapping[str, nn.Module] | Mapping[int, nn.Module],
        pick: int = 1,
        mixture_only: tuple[str | int, ...] = (),
        least: int | None = None,
    ):
        super().__init__(Decision(name, tuple(candidates), pick, mixture_only, least))
        self.candidates = nn.ModuleDict({key_of(option): module for option, module in candidates.items()})

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        value = self.posted(self.decision)
        if isinstance(value, Tensor):
            terms = (_weighted(w, c(*inputs, **named)) for w, c in zip(value, self.candidates.values(), strict=True))
        elif isinstance(value, Mapping):  # weights of some answers: of options, or of subsets
            terms = (
                w if answer == NUMBER else _weighted(w, _summed(c(*inputs, **named) for c in self.kept(answer)))
                for answer, w in value.items()
            )
        else:
            terms = (c(*inputs, **named) for c in self.kept(value))
        return _summed(terms)

    def kept(self, value: Value) -> list[nn.Module]:
        return [self.candidates[key_of(option)] for option in (value if isinstance(value, tuple) else (value,))]

    def decided(self, value: Value) -> nn.Module:
        if not self.decision.several:
            return self.kept(value)[0]
        total = Sum(self.kept(value))
        total.training = self.training  # not train(): a candidate that was frozen in evaluation mode stays so
        return total


class Sum(nn.ModuleList):
    """The sum of what its modules return; all take the same inputs."""

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        return _summed(term(*inputs, **named) for term in self)


_TAKEN = nn.ModuleDict()  # its attributes are no keys: "keys", "half", "type"


@functools.cache
def key_of(option: str | int) -> str:
    """The key of an option in a `ModuleDict` and in files: its own name, but where PyTorch does not take that."""
    name = str(option).replace("%", "%25").replace(".", "%2E")
    return f"%{name}" if not name or hasattr(_TAKEN, name) else name


def _weighted(weight: Tensor, y: Tensor) -> Tensor:
    """A weight (), or one (batch,) for each example of y."""
    return weight * y if weight.dim() == 0 else weight.view(-1, *(1,) * (y.dim() - 1)) * y


def _summed(terms: Iterable[Tensor]) -> Tensor:
    return functools.reduce(operator.add, terms)
