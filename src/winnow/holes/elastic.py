"""Layers whose numbers are open: smaller selves take the first channels and the centre of the kernel.

Weights are shared as in Cai et al. 2020, arXiv:1908.09791, section 3.2, without the learnt kernel transforms. A layer
asks whatever its numbers follow from, and is a leaf. None takes mixture weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.decision import Number, Value
from winnow.core.holes import Hole
from winnow.core.strided import conv2d


class Elastic(Hole):
    """A layer of `numbers`, by the names that `sizes` gives them back by."""

    def __init__(self, **numbers: Number | int):
        given = {name: n if isinstance(n, Number) else Number.fixed(n) for name, n in numbers.items()}
        super().__init__(*{d.name: d for number in given.values() for d in number.decisions}.values())
        self.numbers = given

    def sizes(self, answers: Mapping[str, Value]) -> dict[str, int]:
        return {name: number.of(answers) for name, number in self.numbers.items()}


class Conv(Elastic):
    """A convolution of odd kernel that keeps the size of the map at stride 1.

    `depthwise`: one filter a channel; `c_in` is its width, and `c_out` the same number.
    """

    def __init__(
        self,
        c_in: Number | int,
        c_out: Number | int,
        kernel: Number | int = 1,
        stride: int = 1,
        *,
        depthwise: bool = False,
        bias: bool = False,
    ):
        super().__init__(c_in=c_in, c_out=c_out, kernel=kernel)
        self.stride, self.depthwise = stride, depthwise
        if even := [k for k in self.numbers["kernel"].values if k % 2 == 0]:
            raise ValueError(f"an elastic kernel is cut at its centre, so it is odd: not {even[0]}")
        most = {name: number.largest for name, number in self.numbers.items()}
        self.whole = self._plain(bias=bias, **most)

    def _plain(self, c_in: int, c_out: int, kernel: int, bias: bool) -> nn.Conv2d:
        groups = c_in if self.depthwise else 1
        return nn.Conv2d(c_in, c_out, kernel, self.stride, kernel // 2, groups=groups, bias=bias)

    def _slice(self, c_in: int, c_out: int, kernel: int) -> tuple[Tensor, Tensor | None]:
        weight, bias = self.whole.weight, self.whole.bias
        edge = (weight.shape[-1] - kernel) // 2
        inputs = 1 if self.depthwise else c_in
        cut = weight[:c_out, :inputs, edge : edge + kernel, edge : edge + kernel]
        return cut, None if bias is None else bias[:c_out]

    def forward(self, x: Tensor) -> Tensor:
        size = self.sizes(self.answers())
        weight, bias = self._slice(**size)
        if not self.depthwise:
            return conv2d(x, weight, bias, self.stride, size["kernel"] // 2)
        return F.conv2d(x, weight, bias, self.stride, size["kernel"] // 2, groups=size["c_in"])

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        size = self.sizes(answers)
        with torch.device("meta"):
            plain = self._plain(bias=self.whole.bias is not None, **size)
        return filled(plain, self.whole, *self._slice(**size))


class Norm(Elastic):
    """BatchNorm over the first channels. Its statistics are those of all widths together: recalibrate a child's."""

    def __init__(self, channels: Number | int, **options: Any):
        super().__init__(channels=channels)
        self.whole = nn.BatchNorm2d(self.numbers["channels"].largest, **options)

    def forward(self, x: Tensor) -> Tensor:
        whole, c = self.whole, self.sizes(self.answers())["channels"]
        kept: tuple[Tensor | None, Tensor | None] = (None, None)
        if whole.track_running_stats or not whole.training:  # else as `train.evaluate.batch_statistics` asks for it
            mean, var = whole.running_mean, whole.running_var
            assert mean is not None
            assert var is not None
            kept = (mean[:c], var[:c])
            if whole.training and whole.num_batches_tracked is not None:
                whole.num_batches_tracked.add_(1)
        momentum = 0.1 if whole.momentum is None else whole.momentum
        scale, shift = (whole.weight[:c], whole.bias[:c]) if whole.affine else (None, None)
        return F.batch_norm(x, *kept, scale, shift, whole.training, momentum, whole.eps)

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        whole, c = self.whole, self.sizes(answers)["channels"]
        with torch.device("meta"):
            norm = nn.BatchNorm2d(c, eps=whole.eps, momentum=whole.momentum, affine=whole.affine)
        for name in dict(norm.named_buffers()):
            given = whole.get_buffer(name)
            setattr(norm, name, (given[:c] if given.dim() else given).clone())
        return filled(norm, whole, *((whole.weight[:c], whole.bias[:c]) if whole.affine else (None, None)))


class Linear(Elastic):
    """A linear layer over the first inputs and outputs."""

    def __init__(self, inputs: Number | int, outputs: Number | int, bias: bool = True):
        super().__init__(inputs=inputs, outputs=outputs)
        self.whole = nn.Linear(self.numbers["inputs"].largest, self.numbers["outputs"].largest, bias)

    def _slice(self, inputs: int, outputs: int) -> tuple[Tensor, Tensor | None]:
        bias = self.whole.bias
        return self.whole.weight[:outputs, :inputs], None if bias is None else bias[:outputs]

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self._slice(**self.sizes(self.answers())))

    def settled(self, answers: Mapping[str, Value]) -> nn.Module:
        size = self.sizes(answers)
        with torch.device("meta"):
            plain = nn.Linear(size["inputs"], size["outputs"], self.whole.bias is not None)
        return filled(plain, self.whole, *self._slice(**size))


def filled(module: nn.Module, whole: nn.Module, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    """`module`, built without values of its own, with copies of these; in the mode of `whole`, frozen where that is."""
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None:
            kept = whole.get_parameter(name).requires_grad
            setattr(module, name, nn.Parameter(value.detach().clone(), requires_grad=kept))
    module.training = whole.training
    return module
