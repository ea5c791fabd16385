"""A multilayer perceptron over any vector encoding."""

import numpy as np
from torch import nn

from winnow.predictors.neural import ensemble
from winnow.predictors.protocol import Numbers, Predict

WIDTH = 128


def mlp(x: np.ndarray, y: Numbers, seed: int) -> Predict:
    """Five networks with two hidden layers; their spread is the deviation."""

    def build() -> nn.Module:
        hidden = [nn.Linear(x.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
        return nn.Sequential(*hidden, nn.Linear(WIDTH, 1), nn.Flatten(0))

    return ensemble(build, x, y, seed, lr=3e-3)
