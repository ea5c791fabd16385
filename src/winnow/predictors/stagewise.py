"""FOX-NAS: accuracy and latency of elastic networks, each a linear model of what their stages are.

Liu et al. 2021, arXiv:2108.08189, and the authors' public formulas. A network is five numbers a stage: `VARIABLES`.
About 300 measured networks fit both; coefficients say which stage and which variable pays.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from winnow.core.decision import Value
from winnow.predictors.protocol import Numbers

# blocks; mean ratio and kernel of all blocks but the first, which changes the channels; ratio and kernel of the first
VARIABLES = ("depth", "ratio", "kernel", "first_ratio", "first_kernel")
Terms = Callable[[Numbers], Numbers]  # (n, 5, stages) → (n, terms, stages)


def stages_of(archs: Sequence[Mapping[str, Value]]) -> Numbers:
    """(n, 5, stages) of networks of space `ofa`, in the order of `VARIABLES`.

    A stage of one block has no further ones, and their means are 0. ValueError on a network of another space.
    """
    return np.array([np.transpose([_stage(arch, unit) for unit in _units(arch)]) for arch in archs], dtype=float)


def _units(arch: Mapping[str, Value]) -> list[str]:
    units = sorted(name.removesuffix("/depth") for name in arch if name.endswith("/depth"))
    if not units:
        raise ValueError("stages are those of space ofa: units of open depth, with blocks of open ratio and kernel")
    return units


def _stage(arch: Mapping[str, Value], unit: str) -> list[float]:
    depth, blocks = int(arch[f"{unit}/depth"]), range(2, int(arch[f"{unit}/depth"]) + 1)  # type: ignore[arg-type]
    means = [float(np.mean([arch[f"{unit}/block{b}/{what}"] for b in blocks] or [0])) for what in ("ratio", "kernel")]
    return [depth, *means, arch[f"{unit}/block1/ratio"], arch[f"{unit}/block1/kernel"]]  # type: ignore[list-item]


def latency_terms(stages: Numbers) -> Numbers:
    """(n, 7, stages): the variables, then ratio x depth and kernel x depth."""
    depth, ratio, kernel = stages[:, 0], stages[:, 1], stages[:, 2]
    return np.concatenate([stages, np.stack([ratio * depth, kernel * depth], 1)], 1)


def accuracy_terms(stages: Numbers) -> Numbers:
    """(n, 8, stages): the variables, the sum of ratios but the first, that x depth, and kernel x depth."""
    depth, ratio, kernel = stages[:, 0], stages[:, 1], stages[:, 2]
    total = (depth - 1) * ratio
    return np.concatenate([stages, np.stack([total, total * depth, kernel * depth], 1)], 1)


LATENCY = (*VARIABLES, "ratio x depth", "kernel x depth")
ACCURACY = (*VARIABLES, "ratios", "ratios x depth", "kernel x depth")


@dataclass(frozen=True)
class Stagewise:
    """`intercept` + the sum over stages of `coefficients` (terms, stages) times what `terms` makes of a stage."""

    terms: Terms
    intercept: float
    coefficients: Numbers

    def __call__(self, stages: Numbers) -> Numbers:
        """(n,) for `stages` (n, 5, stages)."""
        return self.intercept + self.parts(stages).sum(1)

    def parts(self, stages: Numbers) -> Numbers:
        """(n, stages): what each stage adds; it follows from that stage alone."""
        return (self.terms(stages) * self.coefficients).sum(1)


@dataclass(frozen=True)
class Fit:
    """A fitted model and how it fits the n rows that it was fitted to.

    `standardised` (terms, stages): the coefficients in standard deviations of the value a standard deviation of the
    term, which compare; `errors` (terms, stages) the coefficients' standard errors, NaN where `rank` is below the
    number of coefficients, the intercept among them: then several would do as well, and this is the smallest.
    """

    model: Stagewise
    r2: float
    adjusted: float
    rmse: float
    standardised: Numbers
    errors: Numbers
    rank: int
    n: int


def fit(terms: Terms, stages: Numbers, values: Numbers) -> Fit:
    """Ordinary least squares of `values` (n,), unweighted. ValueError where rows are no more than coefficients."""
    x, y = terms(np.asarray(stages, dtype=float)), np.asarray(values, dtype=float)
    n, shape = len(y), x.shape[1:]
    flat = x.reshape(n, -1)
    design = np.column_stack([np.ones(n), flat])
    if n <= design.shape[1]:
        raise ValueError(f"{design.shape[1]} coefficients take more networks than that, and {n} were measured")
    solved, _, rank, _ = np.linalg.lstsq(design, y, rcond=None)
    residual = y - design @ solved
    left, all_ = float(residual @ residual), float(((y - y.mean()) ** 2).sum())
    r2 = 1 - left / all_ if all_ else float("nan")
    free = n - int(rank)
    spread = y.std()
    return Fit(
        Stagewise(terms, float(solved[0]), solved[1:].reshape(shape)),
        r2,
        1 - (1 - r2) * (n - 1) / free,
        float(np.sqrt(left / n)),
        (solved[1:] * flat.std(0) / (spread or np.nan)).reshape(shape),
        _errors(design, left / free, int(rank))[1:].reshape(shape),
        int(rank),
        n,
    )


def _errors(design: Numbers, variance: float, rank: int) -> Numbers:
    if rank < design.shape[1]:
        return np.full(design.shape[1], np.nan)
    inverse = np.linalg.inv(np.linalg.qr(design, mode="r"))
    return np.sqrt(variance * (inverse**2).sum(1))


def held_out(terms: Terms, stages: Numbers, values: Numbers, rng: np.random.Generator, folds: int = 5) -> Numbers:
    """(n,): each network's value as predicted by a model fitted to the other folds."""
    places = rng.permutation(len(values))
    predicted = np.empty(len(values))
    for fold in np.array_split(places, folds):
        rest = np.setdiff1d(places, fold)
        predicted[fold] = fit(terms, stages[rest], values[rest]).model(stages[fold])
    return predicted


def strongest(fitted: Fit, names: Sequence[str], stages: Sequence[str]) -> list[tuple[str, str, float]]:
    """(stage, term, standardised coefficient), the largest in size first: where accuracy, or time, comes from."""
    rows = [
        (stage, name, float(fitted.standardised[i, j]))
        for i, name in enumerate(names)
        for j, stage in enumerate(stages)
    ]
    return sorted(rows, key=lambda row: -abs(row[2]))
