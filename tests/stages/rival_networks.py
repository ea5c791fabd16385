"""Networks to compare with, as users build them: `tests.stages.rival_networks:name`. Images are 1 x 8 x 8."""

import torch.nn.functional as F
from torch import nn

from winnow.core.holes import Choice
from winnow.core.space import Space


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x):
        return F.relu(x + self.bn(self.conv(x)))


def build(classes, image_channels, width=8):
    stem = nn.Conv2d(image_channels, width, 3, padding=1)
    return nn.Sequential(
        stem, Block(width), Block(width), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)
    )


def narrow(classes, image_channels):
    return build(classes, image_channels, 4)


def lazy(classes):
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(classes))


def no_module():
    return 3


def still_open(classes):
    return Space(nn.Sequential(nn.Flatten(), Choice("a", {k: nn.Linear(64, classes) for k in ("x", "y")})))


def open_inside(classes):
    return still_open(classes).model


def other_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def other_images():
    return nn.Sequential(nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def raises():
    raise ZeroDivisionError("no weights today")


def three(space):
    return space.decide(lambda d: "nor_conv_3x3")


def mapped(space):
    return dict(three(space))


def half(space):
    return {"1<-0": "nor_conv_3x3"}


def of_another(space):
    return {"normal/2/0": "skip_connect"}


def needs_more(space, classes):
    return three(space)


def three_words(space):
    return "nor_conv_3x3"
