"""Logits and their relaxation: from logits to a setting of mixture weights."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.holes import NUMBER, Setting, key_of
from winnow.core.space import Space
from winnow.search.looks import looked_at

Relax = Callable[[Mapping[str, Tensor]], Setting]
Soft = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # to mixture weights alone

if TYPE_CHECKING:  # nn.ParameterDict reads as a mapping and does not say so

    class _Vectors(nn.ParameterDict, Mapping[str, nn.Parameter]): ...  # type: ignore[misc]

else:
    _Vectors = nn.ParameterDict


class Logits(_Vectors):
    """One vector (options,) per decision that takes a single option; they live beside the network.

    With `subsets`, also one per decision that takes several. Starts as scale x N(0, 1) from `generator`, in the order
    of the decisions (Liu et al. 2019, public code: 1e-3). Refused where a hole takes no mixture weights,
    and without `subsets` where all decisions take several.

    `moments` is what Adam remembers of each by the end of a search (step, and exp_avg and exp_avg_sq of shape
    (options,)), so that training goes on as if it had never stopped; empty where nothing moved them.
    """

    moments: dict[str, dict[str, Any]]

    def __init__(self, space: Space, generator: torch.Generator, scale: float = 1e-3, subsets: bool = False):
        for hole in space.holes:
            if not hole.mixes:
                d = hole.decisions[0]
                raise Refused(
                    f"decision {d.name!r} ({type(hole).__name__}) takes one of {d.options} and no mixture of them: "
                    "search this space with spos, or with trials"
                )
        start = {
            d.name: nn.Parameter(scale * torch.randn(len(d.options), generator=generator))
            for d in space.decisions.values()
            if not d.several or subsets
        }
        if not start and not subsets and space.decisions:
            name = next(iter(space.decisions))
            raise Refused(
                f"logits weigh the options of decisions that take one, and decision {name!r} takes several, as all do "
                "here: search this space with nse or spos"
            )
        super().__init__(start)
        self.moments = {}

    def _key_to_attr(self, key: str) -> str:
        return key_of(key)  # a decision may be called "keys"


def softmax(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Mixture weights (options,) per decision: positive, summing to one."""
    return {name: vector.softmax(0) for name, vector in logits.items()}


def deciding(relax: Relax, decided: Mapping[str, Value]) -> Relax:
    """`relax`, but for the decisions that are made already."""

    def some_decided(logits: Mapping[str, Tensor]) -> Setting:
        return {**relax({name: vector for name, vector in logits.items() if name not in decided}), **decided}

    return some_decided


def gumbel(temperature: float, generator: torch.Generator) -> Soft:
    """Weights drawn anew at each call: softmax((log p + Gumbel noise) / temperature) (Jang et al. 2017)."""
    check_temperature(temperature)

    def relax(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: ((vector.log_softmax(0) + _noise(vector, generator)) / temperature).softmax(0)
            for name, vector in logits.items()
        }

    return relax


def straight_through(temperature: float, generator: torch.Generator) -> Soft:
    """One-hot weights at the largest of `gumbel`'s, with the gradient of `gumbel`'s: all candidates are computed."""
    soft = gumbel(temperature, generator)

    def relax(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: _one_hot(weights) - weights.detach() + weights for name, weights in soft(logits).items()}

    return relax


def sampled(space: Space, temperature: float, generator: torch.Generator, undrawn: bool = True) -> Relax:
    """The same, but only the candidate drawn is computed: its weight is 1 and carries the gradient (GDAS).

    `undrawn`: the weights of the others, which are zero, are added to the feature map as one number (`NUMBER`), so that
    each of them gets the sum of the upstream gradient, as in the authors' code. Without, they get none.
    Who is drawn decides what is computed: one look for all decisions at each call (`looked_at`).
    """
    soft = gumbel(temperature, generator)

    def relax(logits: Mapping[str, Tensor]) -> Setting:
        drawn: dict[str, dict[Value, Tensor]] = {}
        mixtures = soft(logits)
        positions = looked_at({name: weights.argmax() for name, weights in mixtures.items()})
        for name, weights in mixtures.items():
            (position,) = positions[name]
            weight, others = weights[position], weights.sum() - weights[position]
            drawn[name] = {space.decisions[name].options[position]: 1 - weight.detach() + weight}
            if undrawn and torch.is_grad_enabled():  # zero: nothing where nobody asks for the gradient
                drawn[name][NUMBER] = others - others.detach()
        return drawn

    return relax


def gates(cold: float, warm: float) -> Relax:
    """Independent gates: the value of a sigmoid at inverse temperature `cold`, the derivative of one at `warm`.

    Two-temperature subset selection, after Colombo & Gao 2021 (arXiv:2107.03375, of which the abstract is known).
    """
    check_temperature(cold)
    check_temperature(warm)

    def gate(vector: Tensor) -> Tensor:
        return Gate.apply(vector, cold, warm)  # type: ignore[no-untyped-call]

    return lambda logits: {name: gate(vector) for name, vector in logits.items()}


class Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, cold: float, warm: float) -> Tensor:
        ctx.save_for_backward(logits)
        ctx.warm = warm
        return torch.sigmoid(cold * logits)

    @staticmethod
    def backward(ctx: Any, of_gates: Tensor) -> tuple[Tensor, None, None]:
        (logits,) = ctx.saved_tensors
        soft = torch.sigmoid(ctx.warm * logits)
        return of_gates * ctx.warm * soft * (1 - soft), None, None


def _noise(vector: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise, drawn on the CPU so that devices agree."""
    exponential = torch.empty(vector.shape, dtype=torch.float64).exponential_(generator=generator)
    return -laid(exponential.log(), vector)


def laid(drawn: Tensor, like: Tensor) -> Tensor:
    """What was drawn on the CPU, in the type of `like` and where it is; nobody waits for the copy."""
    return drawn.to(like.device, like.dtype, non_blocking=True)


def _one_hot(weights: Tensor) -> Tensor:
    return torch.zeros_like(weights).scatter_(0, weights.argmax(0, keepdim=True), 1.0)


def check_temperature(temperature: float) -> None:
    """Refused where it is not above zero."""
    if not temperature > 0:
        raise Refused(f"a temperature is a number above zero, not {temperature}")
