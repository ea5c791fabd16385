"""Several scores of a pool as one: ranks within the pool, put together. Scores alone have no common scale."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

QUINTET = ("live_params", "expressivity", "trainability", "meco", "jacob_cov")
AGGREGATES = {
    "az_nas": ("expressivity", "progressivity", "trainability", "complexity"),
    "az_nas_vit": ("expressivity", "trainability", "complexity"),  # of transformers, as published
    "quintet": QUINTET,
}


@dataclass(frozen=True)
class Aggregate:
    """`score` (pool,), large is good; `missing` says of each proxy how many networks it gave no value."""

    score: NDArray[np.float64]
    missing: dict[str, int]


def oriented_ranks(values: ArrayLike, direction: int = 1) -> NDArray[np.float64]:
    """1 for the worst to m for the best; equal values share their mean rank; NaN and the infinitely bad are last."""
    oriented = direction * np.asarray(values, dtype=np.float64)
    return rankdata(np.where(np.isnan(oriented), -np.inf, oriented))


def log_rank(columns: Mapping[str, ArrayLike], directions: Mapping[str, int]) -> Aggregate:
    """AZ-NAS: the sum over proxies of ln(rank / m). One bad rank weighs heavily. At most 0."""
    return _aggregate(columns, directions, lambda rank: np.log(rank / len(rank)))


def quintet(columns: Mapping[str, ArrayLike]) -> Aggregate:
    """Ours: the log-rank sum of five scores that each see another way to fail, without weights or coefficients.

    `live_params`: too small. `expressivity`: features collapse into few directions. `trainability`: gradients vanish or
    grow from block to block. `meco`: channels repeat one another. `jacob_cov`: images are not told apart. A network is
    as good as it is nowhere bad: that is what logarithms of ranks say, and a mean of ranks does not. The five were
    chosen on NAS-Bench-201 and CIFAR-10.
    """
    return log_rank({name: columns[name] for name in QUINTET}, dict.fromkeys(QUINTET, 1))


def mean_rank(columns: Mapping[str, ArrayLike], directions: Mapping[str, int]) -> Aggregate:
    """The mean over proxies of rank / m, in (0, 1]."""
    total = _aggregate(columns, directions, lambda rank: rank / len(rank))
    return Aggregate(total.score / len(columns), total.missing)


def vote(columns: Sequence[ArrayLike], directions: Sequence[int]) -> NDArray[np.float64]:
    """How many networks of the pool each one beats by the majority of proxies, less those it loses to (O(m^2))."""
    oriented = [np.nan_to_num(d * np.asarray(c, float), nan=-np.inf) for c, d in zip(columns, directions, strict=True)]
    ranks = [rankdata(c) for c in oriented]
    return np.array([np.sign(sum(np.sign(r[i] - r) for r in ranks)).sum() for i in range(len(ranks[0]))])


def _aggregate(
    columns: Mapping[str, ArrayLike], directions: Mapping[str, int], term: Callable[[NDArray[np.float64]], Any]
) -> Aggregate:
    if not columns:
        raise ValueError("an aggregate takes one proxy or more")
    score: Any = sum(term(oriented_ranks(values, directions[name])) for name, values in columns.items())
    return Aggregate(score, {name: int(np.isnan(np.asarray(v, float)).sum()) for name, v in columns.items()})
