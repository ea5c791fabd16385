"""The networks that every proxy is held against."""

import functools

import torch
from torch import Tensor, nn

from winnow.core.space import Space
from winnow.spaces.darts import darts
from winnow.spaces.mobile import mobile
from winnow.spaces.nas_bench_201 import from_string, nas_bench_201
from winnow.train.seeds import generator, seeded

FULL = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"
DEAD_END = "|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"  # 1<-0 leads nowhere
UNFED = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|nor_conv_3x3~1|none~2|"  # 3<-1 comes from nowhere
LIVE = "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
CLASSES = 4


@functools.cache
def built(build, **options: object) -> Space:
    with seeded(0):
        return build(classes=CLASSES, **options)


@functools.cache
def cell(text: str, final: bool = True) -> nn.Module:
    return built(nas_bench_201, channels=4, cells=1, final=final).derive(from_string(text))


@functools.cache
def first(build, **options: object) -> nn.Module:
    space = built(build, **options)
    return space.derive(space.decide(lambda d: d.values[-1]))


class Residual(nn.Module):
    """Nothing of winnow's: functions instead of modules, an in-place ReLU, dropout, two logits heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.body = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1)) for _ in range(2)
        )
        self.drop, self.head, self.second = nn.Dropout(0.5), nn.Linear(4, CLASSES), nn.Linear(4, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        for block in self.body:
            x = x + block(x)
        x = self.drop(torch.relu(x).mean((2, 3)))
        return self.head(x), self.second(x)


def residual() -> nn.Module:
    with seeded(0):
        return Residual()


NETWORKS = {
    "nas_bench_201": lambda: cell(FULL),
    "nas_bench_201 while searching": lambda: cell(DEAD_END, final=False),
    "darts": lambda: first(darts, channels=2, layers=3),
    "mobile": lambda: first(mobile, width=0.1, image_size=8),
    "ordinary": residual,
}


def batch(n: int = 8, side: int = 8) -> tuple[Tensor, Tensor]:
    images = torch.randn(n, 3, side, side, generator=generator(0, "images"))
    return images, torch.arange(n) % CLASSES


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
