"""The models that FOX-NAS released for a CPU at 192 pixels, and the grid that it searches."""

import itertools

import numpy as np

from winnow.predictors.stagewise import Stagewise, accuracy_terms, latency_terms

ACCURACY = Stagewise(  # percent; stages of 24, 40, 80, 112 and 160 channels
    accuracy_terms,
    61.878882,
    np.array(
        [
            [0.308031, 0.246401, 0.385460, 0.549228, 0.355705],
            [0.020765, 0.041229, 0.034954, 0.067013, 0.135598],
            [0.066404, -0.012060, 0.054933, 0.009343, 0.014635],
            [0.057120, 0.043826, 0.056370, 0.089531, 0.113646],
            [0.005593, 0.025202, 0.027489, 0.003217, 0.013580],
            [0.088727, 0.116691, 0.120979, 0.203725, 0.153543],
            [-0.020289, -0.026291, -0.027556, -0.040638, -0.031194],
            [-0.014607, 0.006102, -0.006670, 0.004494, 0.002630],
        ]
    ),
)
LATENCY = Stagewise(  # milliseconds
    latency_terms,
    16.30464,
    np.array(
        [
            [-8.06211, -2.69638, -1.13344, -0.22013, -0.55329],
            [-2.32253, -0.90273, -1.01517, -0.54179, -0.30544],
            [-2.33407, -0.94015, -0.11907, 0.01387, -0.27301],
            [2.85597, 1.29418, 0.65506, 0.68359, 0.62364],
            [1.17867, 0.49333, 0.10513, 0.23057, 0.01159],
            [2.15201, 1.01542, 0.70170, 0.87146, 0.45674],
            [1.91980, 0.70742, 0.16173, 0.21330, 0.17648],
        ]
    ),
)
DEPTHS, RATIOS, KERNELS = (2, 3, 4), (2, 3, 4, 6), (3, 5, 7)
GRIDS = (DEPTHS, RATIOS, KERNELS, RATIOS, KERNELS)  # of a stage's five variables
STAGE = tuple(itertools.product(*GRIDS))  # the 432 options of a stage


def alike(depth: int, ratio: int, kernel: int) -> np.ndarray:
    """(1, 5, 5): every stage like that, its first block too."""
    return np.repeat(np.array([[depth, ratio, kernel, ratio, kernel]], dtype=float)[:, :, None], 5, 2)


def parts() -> list[tuple[np.ndarray, np.ndarray]]:
    """(milliseconds, points) that each option of each stage adds."""
    options = np.repeat(np.array(STAGE, dtype=float)[:, :, None], 5, 2)
    return list(zip(LATENCY.parts(options).T, ACCURACY.parts(options).T, strict=True))
