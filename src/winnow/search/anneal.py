"""Threshold annealing over points of a grid, as FOX-NAS searches: no temperature, but small losses after a standstill.

Liu et al. 2021, arXiv:2108.08189; every number as in the authors' public script.
"""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

Point = tuple[int, ...]  # a place on each grid


@dataclass(frozen=True)
class Course:
    """How a run goes; the defaults are published.

    A move shifts `moved` variables, one fewer after each `cooling` iterations down to `least`. What is worse by less
    than `loss` is taken when nothing was for more than `stall` iterations, before iteration `until`; a run ends when
    nothing was for `patience`. With a `temperature` (in the unit of the score) a loss is taken with chance
    exp(-loss / temperature) instead, which falls to nothing at iteration `until`.
    """

    moved: int = 8
    least: int = 5
    cooling: int = 1000
    loss: float = 0.1
    stall: int = 500
    until: int = 10_000
    patience: int = 5000
    temperature: float | None = None


@dataclass(frozen=True)
class Run:
    """What one run took, in order, each with its score, and how many iterations there were."""

    taken: tuple[tuple[float, Point], ...]
    iterations: int


def anneal(
    sizes: Sequence[int],
    start: Point,
    score: Callable[[Point], float],
    allowed: Callable[[Point], bool],
    rng: random.Random,
    weights: Callable[[int], Sequence[float]],
    course: Course = Course(),
    loose: Collection[int] = (),
    tries: int = 100_000,
) -> Run:
    """One run from `start`, which is allowed; never anywhere else. Grid i has `sizes[i]` places; scores go up.

    A move draws distinct variables by `weights(iteration)`, fewer where fewer have a weight, and shifts each by -1, 0
    or +1 with equal odds within its grid, one of `loose`, whose places have no order, to any; it may change nothing.
    One that is not allowed is drawn again, shifts and variables. ValueError where `tries` moves from one point are
    not allowed.
    """
    point, now = start, score(start)
    taken, last, t = [(now, start)], 0, 0
    while t - last <= course.patience:
        t += 1
        count = max(course.least, course.moved - t // course.cooling)
        moved = _allowed_move(point, sizes, weights(t), count, loose, allowed, rng, tries)
        then = score(moved)
        if then > now or _taken_anyway(now - then, t, t - last, course, rng):
            point, now, last = moved, then, t
            taken.append((now, point))
    return Run(tuple(taken), t)


def best(runs: Sequence[Run], count: int = 5) -> list[tuple[float, Point]]:
    """The `count` highest different scores of all that was taken, each with the first point that had it."""
    first: dict[float, Point] = {}
    for run in runs:
        for score, point in run.taken:
            first.setdefault(score, point)
    return sorted(first.items(), reverse=True)[:count]


def _taken_anyway(loss: float, t: int, waited: int, course: Course, rng: random.Random) -> bool:
    if t >= course.until:
        return False
    if course.temperature is None:
        return waited > course.stall and loss < course.loss
    heat = course.temperature * (1 - t / course.until)
    return heat > 0 and rng.random() < math.exp(-loss / heat)


def _allowed_move(
    point: Point,
    sizes: Sequence[int],
    weights: Sequence[float],
    count: int,
    loose: Collection[int],
    allowed: Callable[[Point], bool],
    rng: random.Random,
    tries: int,
) -> Point:
    weighted = [i for i, weight in enumerate(weights) if weight > 0]
    for _ in range(tries):
        moved = list(point)
        for i in _distinct(weighted, weights, min(count, len(weighted)), rng):
            near = range(sizes[i]) if i in loose else range(max(0, point[i] - 1), min(sizes[i], point[i] + 2))
            moved[i] = rng.choice(near)
        if allowed(tuple(moved)):
            return tuple(moved)
    raise ValueError(f"none of {tries:,} moves keeps within the limits")


def _distinct(variables: Sequence[int], weights: Sequence[float], count: int, rng: random.Random) -> list[int]:
    """`count` different variables, one after another by the weights of those that are left."""
    keys = {i: math.log(1 - rng.random()) / weights[i] for i in variables}  # Efraimidis and Spirakis 2006
    return sorted(variables, key=lambda i: -keys[i])[:count]
