"""Networks drawn at random and judged with the weights they inherit: what a model of the space is fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.measure.rank import kendall_tau
from winnow.predictors.classic import ridge
from winnow.predictors.protocol import Fit, Numbers
from winnow.search.additive import Part, encoded
from winnow.search.bench import Bench, evaluated
from winnow.search.costs import Costs
from winnow.train.seeds import rng
from winnow.train.watch import Watch

FOLDS = 5


@dataclass(frozen=True)
class Measured:
    """Architectures and their scores, as the bench judges them (n,)."""

    archs: list[Architecture]
    scores: Numbers

    def rows(self, chosen: Architecture) -> list[dict[str, object]]:
        """As evidence, event 0."""
        return [
            evaluated(0, arch.digest, float(score), arch == chosen)
            for arch, score in zip(self.archs, self.scores, strict=True)
        ]


def measured(bench: Bench, count: int, watch: Watch, known: dict[str, float]) -> Measured:
    """`count` different random networks of the bench's space, fewer where it has fewer; `known` are scores by digest.

    They need not be within the limits: a model learns from all sizes.
    """
    archs = distinct(bench.space, rng(bench.seed, "measured"), count)
    scores = []
    for arch in archs:
        scores.append(bench.known_score(arch, known))
        watch.step()
    return Measured(archs, np.array(scores))


def orders(fit: Fit, x: NDArray[np.float64], y: Numbers, seed: int) -> float:
    """Kendall's tau between `y` (n,) and what models fitted to the other four fifths say; NaN where all are equal."""
    draws = np.random.default_rng(seed)
    said = np.empty(len(y))
    for fold in np.array_split(draws.permutation(len(y)), min(FOLDS, len(y))):
        rest = np.setdiff1d(np.arange(len(y)), fold)
        said[fold] = fit(x[rest], y[rest], seed)(x[fold]).mean
    return kendall_tau(said, y)


def coefficients(parts: Sequence[Part], seen: Measured) -> tuple[Numbers, Numbers]:
    """Networks as (n, answers of all parts), and what each answer adds to their scores, by ridge regression."""
    x = encoded(parts, seen.archs)
    predict = ridge(x, seen.scores, 0)  # linear, so the difference that a single answer makes
    return x, predict(np.eye(x.shape[1])).mean - predict(np.zeros((1, x.shape[1]))).mean[0]


def expected(costs: Costs, count: int) -> float:
    """Seconds that so many children take, each on the images that judge it and on those of its statistics."""
    return count * (costs.judged + costs.calibration) * costs.child_row()
