"""Predictors of scikit-learn, over vectors."""

import warnings

import numpy as np

from winnow.predictors.protocol import Numbers, Predict, Prediction


def ridge(x: np.ndarray, y: Numbers, seed: int) -> Predict:
    """Linear regression, its penalty chosen by leave-one-out; deterministic."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(np.logspace(-3, 3, 13)).fit(x, y)
    return lambda new: Prediction(model.predict(new))


def gp(x: np.ndarray, y: Numbers, seed: int) -> Predict:
    """A Gaussian process with an exponential kernel and noise, their sizes the likeliest; deterministic, O(n^3).

    Accuracies have cliffs: smoother kernels (Matern 3/2, squared exponential) were further off on NAS-Bench-201.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel() * Matern(np.sqrt(x.shape[1]), (0.1, 1e3), nu=0.5) + WhiteKernel(0.1, (1e-6, 10.0))
    model = GaussianProcessRegressor(kernel, normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a size at its bound
        model.fit(x, y)

    def predict(new: np.ndarray) -> Prediction:
        parts = [model.predict(part, return_std=True) for part in np.array_split(new, len(new) // 2000 + 1)]
        mean, sd = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Prediction(mean, sd)

    return predict


def trees(x: np.ndarray, y: Numbers, seed: int) -> Predict:
    """Three hundred boosted trees of depth four, each on half of the rows."""
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(
        n_estimators=300, max_depth=4, learning_rate=0.05, subsample=0.5, random_state=seed
    )
    model.fit(x, y)
    return lambda new: Prediction(model.predict(new))
