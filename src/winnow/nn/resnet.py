"""A network for who has none at hand: recipe smaller takes it as if it were yours."""

import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Two convolutions of 3 x 3 beside a shortcut, (b, c_in, h, w) to (b, c_out, h / stride, w / stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


def resnet20(classes: int = 10, image_channels: int = 3, width: int = 16) -> nn.Sequential:
    """Three stages of three blocks, of `width`, twice and four times as many channels: (b, c, h, w) to (b, classes).

    He et al. 2016, arXiv:1512.03385, section 4.2, but for the shortcuts between stages, which are convolutions here.
    """
    layers = [nn.Conv2d(image_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    c_in = width
    for stage in range(3):
        c_out = width * 2**stage
        blocks = [Block(c_in if i == 0 else c_out, c_out, 2 if stage and i == 0 else 1) for i in range(3)]
        layers.append(nn.Sequential(*blocks))
        c_in = c_out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, classes))
