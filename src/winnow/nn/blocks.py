"""Larger pieces of the published skeletons."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Layer = Callable[..., nn.Module]


class ResidualReduction(nn.Module):
    """NAS-Bench-201's block between stages: two 3x3 convolutions, the first strided, beside pooling and a 1x1."""

    def __init__(self, c_in: int, c_out: int, affine: bool):
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=affine),
            nn.ReLU(),
            nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(c_out, affine=affine),
        )
        # ceil_mode differs from the published pool for odd sides only, where the branches would not meet (at side 3 its
        # single pixel would be spread over the other branch's four)
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, 2, ceil_mode=True), nn.Conv2d(c_in, c_out, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class AuxiliaryHead(nn.Module):
    """The second classifier of the DARTS retraining; takes feature maps of any side, pooled to 2 x 2.

    Published for maps of 8 x 8 (CIFAR) and, `imagenet`, of 7 x 7: windows of five at a stride of 3 or 2. The form for
    ImageNet has no BatchNorm before its classifier, an oversight that the authors kept.
    """

    def __init__(self, channels: int, classes: int, imagenet: bool = False):
        super().__init__()
        self.stride = 2 if imagenet else 3
        norm = [] if imagenet else [nn.BatchNorm2d(768)]
        self.features = nn.Sequential(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            *norm,
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        if min(x.shape[2:]) >= 5 + self.stride:  # the published pool leaves 2 x 2 of its own side
            x = F.avg_pool2d(x, 5, self.stride)
        return self.classifier(self.features(_quarters(x)).flatten(1))


def _quarters(x: Tensor) -> Tensor:
    """Means of the four quarters, (b, c, 2, 2); odd sides share their middle. 2 x 2 stays as it is.

    Adaptive pooling to 2 x 2 gives the same, but has no deterministic backward pass on CUDA.
    """
    height, width = (-(-side // 2) for side in x.shape[2:])
    rows = (x[:, :, :height], x[:, :, -height:])
    return torch.stack([torch.stack([r[..., :width].mean((2, 3)), r[..., -width:].mean((2, 3))], -1) for r in rows], -2)


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int, groups: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution that keeps the side at stride 1, without a bias, and its BatchNorm."""
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return conv, nn.BatchNorm2d(c_out)


class Residual(nn.Module):
    """What `body` makes of an input, added to that input."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class SqueezeExcite(nn.Module):
    """Channels weighed by a gate that sees their means: `reduce`, ReLU, `expand`, then relu6(x + 3) / 6.

    The two are pointwise convolutions, whoever builds them. Source: Howard et al. 2019, arXiv:1905.02244, section 5.3.
    """

    def __init__(self, reduce: nn.Module, expand: nn.Module):
        super().__init__()
        self.reduce, self.expand = reduce, expand

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.expand(F.relu(self.reduce(x.mean((2, 3), keepdim=True)))))


def plain_conv(c_in: int, c_out: int, kernel: int = 1, stride: int = 1, *, depthwise: bool = False) -> nn.Module:
    """A convolution that keeps the side at stride 1, without a bias."""
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=c_in if depthwise else 1, bias=False)


class ShuffleUnit(nn.Module):
    """A ShuffleNetV2-like unit of SPOS (Guo et al. 2020, arXiv:1904.00420): split or project, transform, concatenate.

    `kernels` are the depthwise kernels of the main branch: (k,) for the plain unit, (3, 3, 3) for the Xception-like.
    With equal channels and stride 1 half of the shuffled input bypasses the main branch; otherwise it is projected.
    `middle` is the width of the main branch's inner maps, c_out / 2 where it says nothing; where it is no number but
    something open, `conv` and `norm` make the layers of the branch.
    ValueError where the bypass leaves the main branch no channel of `c_out`.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        stride: int,
        kernels: tuple[int, ...],
        affine: bool,
        middle: Any = None,
        conv: Layer = plain_conv,
        norm: Layer = nn.BatchNorm2d,
    ):
        super().__init__()
        self.split = stride == 1 and c_in == c_out
        bypass = c_in // 2 if self.split else c_in
        main_in, main_out = c_in - bypass if self.split else c_in, c_out - bypass
        middle = c_out // 2 if middle is None else middle
        if main_out < 1:
            raise ValueError(f"a unit from {c_in} to {c_out} channels has none for its main branch: widen it")

        def pointwise(a: Any, b: Any) -> list[nn.Module]:
            return [conv(a, b), norm(b, affine=affine), nn.ReLU()]

        def depthwise(a: Any, kernel: int, stride: int) -> list[nn.Module]:
            return [conv(a, a, kernel, stride, depthwise=True), norm(a, affine=affine)]

        layers: list[nn.Module] = []
        if len(kernels) == 1:
            layers += [*pointwise(main_in, middle), *depthwise(middle, kernels[0], stride)]
            layers += pointwise(middle, main_out)
        else:
            widths = [main_in, *[middle] * (len(kernels) - 1), main_out]
            for i, kernel in enumerate(kernels):
                layers += depthwise(widths[i], kernel, stride if i == 0 else 1)
                layers += pointwise(widths[i], widths[i + 1])
        self.main = nn.Sequential(*layers)
        self.projection = None
        if not self.split:
            self.projection = nn.Sequential(*depthwise(c_in, kernels[0], stride), *pointwise(c_in, c_in))

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is None:
            batch, channels, height, width = x.shape
            pairs = x.reshape(batch, channels // 2, 2, height, width)  # even channels bypass, odd ones are transformed
            return torch.cat([pairs[:, :, 0], self.main(pairs[:, :, 1])], dim=1)
        return torch.cat([self.projection(x), self.main(x)], dim=1)
