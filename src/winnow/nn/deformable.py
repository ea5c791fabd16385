"""3x3 convolutions of feature pyramids, plain and deformable (Dai et al. 2017, arXiv:1703.06211)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = 3  # a side


class Kernel(nn.Conv2d):
    """A 3x3 convolution with padding 1 and a bias that begins at zero.

    Its weight begins as U(-s, s), s = 1/sqrt(9 c_in), or with `std` as N(0, std^2).
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, std: float | None = None):
        self.std = std
        super().__init__(c_in, c_out, TAPS, stride, 1)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.std is not None:
            nn.init.normal_(self.weight, std=self.std)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


class Deformable(Kernel):
    """The same where each of the nine taps is read where a plain convolution of the input says: y and x to add.

    Between pixels by bilinear interpolation, outside as zero. With offsets of zero, where they begin, a plain
    convolution, as it is wherever it is called `plain`. As deform_conv2d of version 1 with one group of offsets.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, std: float | None = None):
        super().__init__(c_in, c_out, stride, std)
        self.offset = Offsets(c_in, 2 * TAPS**2, TAPS, stride, 1)

    def forward(self, x: Tensor, plain: bool = False) -> Tensor:
        if plain:
            return super().forward(x)
        return F.conv2d(self._taps(x), self.weight, self.bias, stride=TAPS)

    def _taps(self, x: Tensor) -> Tensor:
        """(batch, c_in, 3 rows, 3 columns): what the taps of each of rows x columns positions read, side by side."""
        offsets = self.offset(x)
        down, right = offsets.unflatten(1, (TAPS, TAPS, 2)).unbind(3)  # (batch, tap row, tap column, rows, columns)
        tap, (rows, columns) = self._counted(TAPS, x) - 1, offsets.shape[2:]
        y = down + tap[:, None, None, None] + self.stride[0] * self._counted(rows, x)[:, None]
        across = right + tap[:, None, None] + self.stride[1] * self._counted(columns, x)
        # pixels to [-1, 1], between which the whole of the border pixels lies
        ends = [(2 * at + 1) / side - 1 for at, side in ((across, x.shape[3]), (y, x.shape[2]))]
        grid = torch.stack(ends, -1).permute(0, 3, 1, 4, 2, 5).flatten(3, 4).flatten(1, 2)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _counted(self, count: int, x: Tensor) -> Tensor:
        return torch.arange(count, device=x.device, dtype=x.dtype)


class Offsets(nn.Conv2d):
    """A convolution that begins at zero."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


def undeformed(kernel: nn.Module, x: Tensor) -> Tensor:
    """`kernel` as a plain convolution, whichever it is."""
    found: Tensor = kernel(x, plain=True) if isinstance(kernel, Deformable) else kernel(x)
    return found
