"""Numbers of few bits: what a layer makes of its weights and inputs while it learns to do with so few.

Gradients pass rounding unchanged (straight-through). Everything stays a float: what is rounded takes as many different
values as the bits allow, and is computed in floating point. Weights as in DoReFa (Zhou et al. 2016, arXiv:1606.06160),
activations as in PACT (Choi et al. 2018, arXiv:1805.06085), in the forms of their public re-implementations.
"""

import re
from typing import Any

import torch
from torch import Tensor

FLOAT = 32  # bits of what is not rounded
MOST = 8  # bits of what is
PENALTY = 2e-4  # of a clip, squared and halved; from public code
SMALLEST = 1e-6  # a clip that reached 0 would divide by it


def pair(option: str) -> tuple[int, int]:
    """Bits of weights and of activations: (1, 2) of "w1a2". ValueError on what is none; 32 bits are floats."""
    found = re.fullmatch(r"w(\d+)a(\d+)", option) if isinstance(option, str) else None
    bits = tuple(int(n) for n in found.groups()) if found else ()
    if not bits or not all(1 <= n <= MOST or n == FLOAT for n in bits):
        raise ValueError(
            f"bits take text like w2a4, 2 bits a weight and 4 an activation, of 1 to {MOST} each or {FLOAT} (floats), "
            f"not {option!r}"
        )
    return bits[0], bits[1]


class Round(torch.autograd.Function):
    """To the nearest whole number, halves to even ones; the gradient is that of the identity."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


class Sign(Round):
    """1 where x is 0 or more, else -1; the gradient is that of the identity."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)


class Clipped(torch.autograd.Function):
    """PACT: x between 0 and `clip` (), in 2^bits values.

    The gradient of x is passed where x lies between, that of `clip` where x is as large or larger; to it comes the
    gradient of the clip's own penalty, PENALTY / 2 · clip², so that whoever trains has it and no loss need know.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, clip: Tensor, bits: int) -> Tensor:
        most = clip.to(x.dtype)
        scale: Tensor = (2**bits - 1) / most
        return (x.clamp(min=0).minimum(most) * scale).round() / scale

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, clip = ctx.saved_tensors
        passed = gradient * ((x >= 0) & (x <= clip))
        beyond = (gradient * (x >= clip)).sum()
        return passed, (beyond + PENALTY * clip).to(clip.dtype), None


def quantised_weights(weight: Tensor, bits: int) -> Tensor:
    """`weight` in 2^bits values between -1 and 1, evenly apart; of one bit, plus or minus the mean of |weight|.

    The largest value and that mean are constants to the gradient.
    """
    if bits == FLOAT:
        return weight
    tiny = torch.finfo(weight.dtype).tiny  # all may be 0
    if bits == 1:
        mean = weight.detach().abs().mean().clamp(min=tiny)
        signs: Tensor = Sign.apply(weight / mean)  # type: ignore[no-untyped-call]
        return signs * mean
    squashed, levels = weight.tanh(), 2**bits - 1
    largest = squashed.detach().abs().max().clamp(min=tiny)
    shares = squashed / (2 * largest) + 0.5
    rounded: Tensor = Round.apply(shares * levels)  # type: ignore[no-untyped-call]
    found: Tensor = 2 * (rounded / levels) - 1
    return found


def quantised_activations(x: Tensor, clip: Tensor, bits: int) -> Tensor:
    """`x` in 2^bits values from 0 to |clip|; as it is, if of so many bits as floats have."""
    if bits == FLOAT:
        return x
    found: Tensor = Clipped.apply(x, clip.abs().clamp(min=SMALLEST), bits)  # type: ignore[no-untyped-call]
    return found
