"""Models of the score for Bayesian optimisation: one function each, from observations to means and deviations."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.linalg import cho_solve, cholesky

# (x (n, f), y (n,), new (m, f), rng) -> mean (m,), deviation (m,)
Surrogate = Callable[[np.ndarray, np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


def forest(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, rng: np.random.Generator, trees: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """A random forest with half of the features at each split; mean and deviation over its trees."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(trees, max_features=0.5, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        model.fit(x, y)
    each = np.array([tree.tree_.predict(new.astype(np.float32))[:, 0] for tree in model.estimators_])
    return each.mean(0), each.std(0)


def gaussian_process(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian process over one-hot features with kernel exp(−decisions that differ / scale) and noise.

    Scale and noise are the likeliest of a small grid. Deterministic: `rng` is not asked.
    """
    centre, spread = y.mean(), y.std() or 1.0
    target = (y - centre) / spread
    apart = _distance(x, x)
    fits = [_fit(apart, target, scale, noise) for scale in (1.0, 2.0, 4.0, 8.0) for noise in (1e-3, 1e-2, 1e-1)]
    _, factor, solved, amplitude, scale = max(fits, key=lambda fit: fit[0])
    between = np.exp(-_distance(new, x) / scale)
    variance = amplitude * (1 - np.einsum("ij,ji->i", between, cho_solve((factor, True), between.T)))
    return centre + spread * (between @ solved), spread * np.sqrt(np.maximum(variance, 1e-12))


def _fit(
    apart: np.ndarray, target: np.ndarray, scale: float, noise: float
) -> tuple[float, np.ndarray, np.ndarray, float, float]:
    """(log likelihood with the best amplitude, Cholesky factor, solved target, amplitude, scale)."""
    factor = cholesky(np.exp(-apart / scale) + noise * np.eye(len(target)), lower=True)
    solved = cho_solve((factor, True), target)
    amplitude = max(float(target @ solved) / len(target), 1e-12)
    likelihood = -len(target) / 2 * np.log(amplitude) - np.log(np.diag(factor)).sum()
    return float(likelihood), factor, solved, amplitude, scale


def _distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many decisions differ; for one-hot rows."""
    return a.sum(1)[:, None] - a @ b.T


SURROGATES: dict[str, Surrogate] = {"forest": forest, "gaussian_process": gaussian_process}
