"""Values on a scale that suits learning: accuracies crowd at the top and trail off below, and order is asked for."""

from typing import Any

import numpy as np

from winnow.predictors.protocol import Fit, Numbers, Predict, Prediction


def on_normal_scores(fit: Fit) -> Fit:
    """`fit`, to the values' normal quantiles instead of the values; predictions are brought back to their unit.

    Orders are those of the model. Beyond the values seen the way back is a straight line as steep as their middle half.
    """

    def fitted(x: np.ndarray, y: Numbers, seed: int) -> Predict:
        z = normal_scores(y)
        predict, back = fit(x, z, seed), inverse(z, y)

        def prediction(new: np.ndarray) -> Prediction:
            found = predict(new)
            if found.sd is None:
                return Prediction(back(found.mean))
            return Prediction(back(found.mean), (back(found.mean + found.sd) - back(found.mean - found.sd)) / 2)

        return prediction

    return fitted


def normal_scores(y: Numbers) -> Numbers:
    """The standard normal's quantile at (rank - 1/2) / n; equal values share their mean rank."""
    from scipy.special import ndtri
    from scipy.stats import rankdata

    return ndtri((rankdata(y) - 0.5) / len(y))


def inverse(z: Numbers, y: Numbers) -> Any:
    """The increasing function through the points (z, y), which are in the same order."""
    values, first = np.unique(y, return_index=True)
    places = z[first]
    low, high = np.quantile(z, [0.25, 0.75])
    rise = np.subtract(*np.interp([high, low], places, values))
    slope = rise / (high - low) if high > low and rise > 0 else float(len(values) > 1)

    def back(at: Numbers) -> Numbers:
        beyond = at - np.clip(at, places[0], places[-1])
        return np.interp(at, places, values) + slope * beyond

    return back
