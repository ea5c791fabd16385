"""A depthwise convolution whose smaller kernels are learnt functions of the larger ones.

Source: Cai et al. 2020 (arXiv:1908.09791), section 3.2 and figure 4, and the authors' public code.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.decision import Number
from winnow.holes.elastic import Conv


class TransformedDepthwise(Conv):
    """The k x k kernel of a channel is a matrix times the centre of the next larger kernel, row by row.

    From 7 to 3 both matrices are passed, so that a 3 x 3 kernel sees the centre of the transformed 5 x 5. All channels
    share them. They begin as identities, with which kernels are centre crops, and a child has none: its kernels are
    what came of them.
    """

    def __init__(self, channels: Number | int, kernel: Number, stride: int = 1):
        super().__init__(channels, channels, kernel, stride, depthwise=True)
        self.sides = self.numbers["kernel"].values[::-1]
        for side in self.sides[1:]:
            self.register_parameter(f"to_{side}", nn.Parameter(torch.eye(side * side)))

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for side in self.sides[1:]:
            nn.init.eye_(self.get_parameter(f"to_{side}"))

    def _slice(self, c_in: int, c_out: int, kernel: int) -> tuple[Tensor, Tensor | None]:
        weight = self.whole.weight[:c_out]
        for larger, side in itertools.pairwise(self.sides):
            if side < kernel:
                break
            edge = (larger - side) // 2
            centre = weight[..., edge : edge + side, edge : edge + side].reshape(c_out, side * side)
            weight = F.linear(centre, self.get_parameter(f"to_{side}")).view(c_out, 1, side, side)
        return weight, None
