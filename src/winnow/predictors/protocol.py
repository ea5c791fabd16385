"""What predictors take and give."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """`mean` (m,) in the unit of the values fitted; `sd` (m,), or None where the model does not say how sure it is."""

    mean: Numbers
    sd: Numbers | None = None


Predict = Callable[[np.ndarray], Prediction]
Fit = Callable[[np.ndarray, Numbers, int], Predict]  # encodings (n, ...), values (n,), seed
