"""ProxyBO: zero-cost proxies vote on the next architecture, each as much as it has been right (Shen et al. 2023).

arXiv:2110.10423, AAAI 37(8). The parts that the paper leaves open are settings; `Settings` says what they are here.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from winnow.trials.surrogates import Surrogate

Scores = Callable[[np.ndarray], np.ndarray]  # (m, decisions) codes -> (m, proxies), larger is better, nan is worst


@dataclass(frozen=True)
class Settings:
    start: int = 20  # random architectures before the first vote
    folds: int = 5  # of the cross-validation that measures the surrogate
    temperature: float = 0.05  # τ₀; small values let the ablest voter decide alone
    pool: int = 400  # random candidates a round
    parents: int = 5  # the best so far, whose neighbours are candidates too
    neighbours: int = 24  # of each


def next_codes(
    sizes: Sequence[int],
    observed: np.ndarray,
    y: np.ndarray,
    seen: Collection[tuple[int, ...]],
    scores: Scores,
    surrogate: Surrogate,
    rng: np.random.Generator,
    settings: Settings,
) -> tuple[int, ...]:
    """The architecture to evaluate next, as one code a decision.

    `observed` (n, decisions) are the codes evaluated so far, `y` (n,) what they scored, larger is better; `seen` are
    those never to be proposed again, in flight ones too.
    """
    if len(y) < settings.start:
        candidates = unseen(random_codes(sizes, settings.pool, rng), seen)
        return _row(candidates if len(candidates) else random_codes(sizes, 1, rng))
    candidates = unseen(_pool(sizes, observed, y, rng, settings), seen)
    if not len(candidates):
        return _row(random_codes(sizes, 1, rng))
    y = normal_ranks(y)
    x, new = one_hot(observed, sizes), one_hot(candidates, sizes)
    abilities = [ability(out_of_fold(x, y, surrogate, rng, settings.folds), y)]
    abilities += [ability(column, y) for column in _filled(scores(observed)).T]
    weights = influence(np.array(abilities), temperature(len(y) - settings.start + 1, settings.temperature))
    mean, deviation = surrogate(x, y, new, rng)
    votes = np.column_stack([expected_improvement(mean, deviation, y.max()), _filled(scores(candidates))])
    return _row(candidates, int(combined_rank(votes, weights).argmin()))


def normal_ranks(y: np.ndarray) -> np.ndarray:
    """Scores as quantiles of a normal distribution: what failed to train does not flatten all others."""
    return np.asarray(ndtri((rankdata(y) - 0.5) / len(y)))


def ability(predicted: np.ndarray, y: np.ndarray) -> float:
    """G, the share of pairs that are put in the right order; a tie on either side is half right. ½ for under 2."""
    if len(y) < 2:
        return 0.5
    predicted = rankdata(predicted)  # infinities have differences then
    first, second = np.triu_indices(len(y), 1)
    agree = np.sign(predicted[first] - predicted[second]) * np.sign(y[first] - y[second])
    return float((agree.mean() + 1) / 2)


def influence(abilities: np.ndarray, tau: float) -> np.ndarray:
    """I, a softmax of abilities at temperature τ; sums to 1."""
    raised = np.exp((abilities - abilities.max()) / tau)
    return np.asarray(raised / raised.sum())


def temperature(rounds: int, start: float) -> float:
    """τ = τ₀ / (1 + ln T) in round T ≥ 1."""
    return float(start / (1 + np.log(rounds)))


def expected_improvement(mean: np.ndarray, deviation: np.ndarray, best: float) -> np.ndarray:
    """EI = σ (z Φ(z) + φ(z)), z = (μ − best) / σ; the gain itself where σ is 0."""
    safe = np.maximum(deviation, 1e-12)
    z = (mean - best) / safe
    return np.asarray(safe * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)))


def combined_rank(votes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """CR (m,): ranks of `votes` (m, voters) in each column, 1 the best and ties averaged, weighted and summed."""
    return np.asarray(rankdata(-votes, axis=0) @ weights)


def out_of_fold(x: np.ndarray, y: np.ndarray, surrogate: Surrogate, rng: np.random.Generator, folds: int) -> np.ndarray:
    """What the surrogate says of each row when fitted on the folds without it."""
    predicted = np.empty(len(y))
    for fold in np.array_split(rng.permutation(len(y)), min(folds, len(y))):
        rest = np.setdiff1d(np.arange(len(y)), fold)
        predicted[fold] = surrogate(x[rest], y[rest], x[fold], rng)[0]
    return predicted


def one_hot(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Shape (n, sum of sizes), float64."""
    return np.concatenate([np.eye(size)[column] for size, column in zip(sizes, codes.T, strict=True)], axis=1)


def random_codes(sizes: Sequence[int], count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, sizes, (count, len(sizes)))


def unseen(candidates: np.ndarray, seen: Collection[tuple[int, ...]]) -> np.ndarray:
    """Each candidate once, in order, without those seen."""
    fresh = dict.fromkeys(code for code in map(tuple, candidates.tolist()) if code not in seen)
    return np.array(list(fresh)) if fresh else np.empty((0, candidates.shape[1]), int)


def _pool(
    sizes: Sequence[int], observed: np.ndarray, y: np.ndarray, rng: np.random.Generator, settings: Settings
) -> np.ndarray:
    best = observed[np.argsort(-y, kind="stable")[: settings.parents]]
    edits = [(i, code) for i, size in enumerate(sizes) for code in range(size)]
    near = []
    for parent in best:
        other = [edit for edit in edits if parent[edit[0]] != edit[1]]
        for i in rng.permutation(len(other))[: settings.neighbours]:
            child = parent.copy()
            child[other[i][0]] = other[i][1]
            near.append(child)
    return np.concatenate([random_codes(sizes, settings.pool, rng), np.array(near).reshape(-1, len(sizes))])


def _row(codes: np.ndarray, row: int = 0) -> tuple[int, ...]:
    return tuple(codes[row].tolist())


def _filled(scores: np.ndarray) -> np.ndarray:
    """What has no score counts as worse than all that do."""
    return np.where(np.isfinite(scores), scores, -np.inf)
