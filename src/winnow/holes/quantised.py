"""Convolutions of few bits, and the hole that leaves their bits open.

One float weight is shared by all bit widths and rounded anew in every forward pass (Guo et al. 2020, arXiv:1904.00420,
section 4.3); each number of activation bits has a clip of its own. How they are rounded: `holes.bits`.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from winnow.core.decision import Decision, Number, Value
from winnow.core.strided import conv2d
from winnow.holes.bits import FLOAT, pair, quantised_activations, quantised_weights
from winnow.holes.elastic import Conv, filled

CLIP = 10.0  # where a clip begins, as published


class QuantisedConv2d(nn.Conv2d):
    """A convolution without a bias whose weights and inputs, which are taken to be positive, are rounded first.

    `measure.cost` counts a multiplication of b_w by b_a bits as b_w · b_a bit operations.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, bits: str, start: float = CLIP):
        super().__init__(c_in, c_out, kernel, stride, kernel // 2, bias=False)
        self.weight_bits, self.activation_bits = pair(bits)
        self.start = start
        self.clip = None if self.activation_bits == FLOAT else nn.Parameter(torch.tensor(start))

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if getattr(self, "clip", None) is not None:  # not yet while it is built
            nn.init.constant_(self.clip, self.start)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        x = _rounded(x, self.clip, self.activation_bits)
        return conv2d(x, quantised_weights(self.weight, self.weight_bits), None, self.stride, self.padding[0])

    def extra_repr(self) -> str:
        plain = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{plain}, bits=w{self.weight_bits}a{self.activation_bits}"


class QuantisedConv(Conv):
    """An elastic convolution whose bits are what decision `bits` answers, "w2a4"; it becomes a `QuantisedConv2d`."""

    def __init__(
        self,
        bits: Decision,
        c_in: Number | int,
        c_out: Number | int,
        kernel: int,
        stride: int = 1,
        start: float = CLIP,
    ):
        super().__init__(c_in, c_out, kernel, stride)
        self.decisions, self.bits, self.start = (*self.decisions, bits), bits, start
        for n in sorted({pair(str(option))[1] for option in bits.options} - {FLOAT}):
            self.register_parameter(f"clip_{n}", nn.Parameter(torch.tensor(start)))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for clip in self.parameters(recurse=False):
            clip.fill_(self.start)

    def forward(self, x: Tensor) -> Tensor:
        answers = self.answers()
        size = self.sizes(answers)
        weight_bits, activation_bits = pair(str(answers[self.bits.name]))
        weight, _ = self._slice(**size)
        x = _rounded(x, self._clip(activation_bits), activation_bits)
        return conv2d(x, quantised_weights(weight, weight_bits), None, self.stride, size["kernel"] // 2)

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        size, bits = self.sizes(answers), str(answers[self.bits.name])
        with torch.device("meta"):
            plain = QuantisedConv2d(size["c_in"], size["c_out"], size["kernel"], self.stride, bits, self.start)
        if plain.clip is not None:
            given = self._clip(plain.activation_bits)
            assert given is not None
            plain.clip = nn.Parameter(given.detach().clone(), requires_grad=given.requires_grad)
        return filled(plain, self.whole, *self._slice(**size))

    def _clip(self, bits: int) -> nn.Parameter | None:
        return None if bits == FLOAT else self.get_parameter(f"clip_{bits}")


def _rounded(x: Tensor, clip: Tensor | None, bits: int) -> Tensor:
    return x if clip is None else quantised_activations(x, clip, bits)
