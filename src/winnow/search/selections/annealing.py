"""Selection annealing: FOX-NAS (Liu et al. 2021, arXiv:2108.08189): two explainable linear models, threshold annealing.

Accuracy is learnt from networks that are judged with inherited weights; params and MACs are counted, not learnt.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.options import Positive, Rate
from winnow.core.space import Space
from winnow.search import measured
from winnow.search.additive import Sums, architecture, grouped
from winnow.search.anneal import Course, Point, anneal, best
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.costs import Costs
from winnow.search.exact import optimum
from winnow.search.problems import Problem, has_stages, of_options, of_stages
from winnow.search.selection import selection
from winnow.search.selections.exact import limited
from winnow.train.seeds import rng

STARTS = 1000  # random starts before the smallest network is one


def expected(costs: Costs, *, samples: int = 300, candidates: int = 5) -> float:
    return measured.expected(costs, samples + candidates)


@selection(
    "children",
    "scores trained children",
    keeps_limits=True,
    sums=True,
    evidence="model",
    seconds=expected,
    trained=True,
)
def by_annealing(
    bench: Bench,
    *,
    samples: Positive = 300,
    runs: Positive = 3,
    candidates: Positive = 5,
    model: Literal["stages", "options"] | None = None,
    temperature: Rate | None = None,
) -> Chosen:
    """The best, by inherited weights, of the `candidates` best points that a model's annealing takes in `runs` runs.

    The model of accuracy is fitted to `samples` random networks: over `stages` (FOX-NAS; space ofa), where all blocks
    of a stage but the first are alike, or over single `options` of any space (a ridge regression); None: stages where
    there are such. A variable moves to its neighbours, where its options are whole numbers, else anywhere. With a
    `temperature`, in the unit of the score, losses are taken by chance. Refused where sizes do
    not add up over decisions, and where the model has as many coefficients as there are samples.
    """
    space, sums, names = bench.space, limited(bench, "annealing"), list(bench.most)
    known: dict[str, Any] = {}
    with bench.shown() as watch, bench.keeper.piece(known=known):
        watch.start("select (annealing)", samples + candidates)
        seen = measured.measured(bench, samples, watch, known)
        staged = model == "stages" or (model is None and has_stages(space))
        problem = of_stages(bench, sums, seen) if staged else of_options(space, sums, seen)
        limits = [bench.most[name] for name in names]

        @functools.cache
        def allowed(point: Point) -> bool:
            return all(cost <= limit for cost, limit in zip(problem.costs(point), limits, strict=True))

        draws, course = rng(bench.seed, "annealing"), Course(temperature=temperature)
        score = functools.cache(problem.score)
        found = []
        for run in range(runs):
            start = _start(problem, allowed, draws) if staged else _within(space, sums, limits, allowed, problem, draws)
            weights = functools.partial(problem.weights, run)
            found.append(anneal(problem.sizes, start, score, allowed, draws, weights, course, problem.loose))
        gap = problem.optimum(limits) - max(value for run in found for value, _ in run.taken)
        archs = list(dict.fromkeys(_decided(space, problem.answers(point)) for _, point in best(found, candidates)))
        scores = []
        for arch in archs:
            scores.append(bench.known_score(arch, known))
            watch.step()
    winner = archs[int(np.argmax(scores))]
    bench.say(f"{problem.told}; annealing ends {max(0.0, round(gap, 9)):.3g} below the exact optimum of that model")
    judged = [evaluated(1, arch.digest, score, arch == winner) for arch, score in zip(archs, scores, strict=True)]
    return winner, [*seen.rows(winner), *judged, *problem.rows]


def _decided(space: Space, answers: Mapping[str, Value]) -> Architecture:
    return space.decide(lambda d: answers[d.name])


def _start(problem: Problem, allowed: Callable[[Point], bool], draws: random.Random) -> Point:
    """Free variables anywhere and the others at their least, drawn until that is allowed; else all at their least."""
    for _ in range(STARTS):
        start = tuple(draws.randrange(n) if i < problem.free else 0 for i, n in enumerate(problem.sizes))
        if allowed(start):
            return start
    smallest = (0,) * len(problem.sizes)
    if not allowed(smallest):
        raise Refused("no network whose stages are alike is within the limits: raise them, or select with exact")
    return smallest


def _within(
    space: Space,
    sums: Sums,
    limits: Sequence[float],
    allowed: Callable[[Point], bool],
    problem: Problem,
    draws: random.Random,
) -> Point:
    """A random point that is allowed, or some one where few are."""
    for _ in range(STARTS):
        start = tuple(draws.randrange(n) for n in problem.sizes)
        if allowed(start):
            return start
    nothing = np.zeros(sum(len(part.answers) for part in sums.parts))
    left = [limit - base for limit, base in zip(limits, sums.first, strict=True)]
    arch = architecture(space, sums.parts, optimum(grouped(sums.parts, nothing, sums.each), left).picks)
    return tuple(d.values.index(arch.get(name, d.values[0])) for name, d in space.decisions.items())
