"""Selection annealing: FOX-NAS (Liu et al. 2021, arXiv:2108.08189): two explainable linear models, threshold annealing.

Accuracy is learnt from networks that are judged with inherited weights; params and MACs are counted, not learnt.
"""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from winnow.core.architecture import Architecture
from winnow.core.decision import Value
from winnow.core.errors import Refused
from winnow.core.options import Positive, Rate
from winnow.core.space import Space
from winnow.predictors.stagewise import ACCURACY, VARIABLES, accuracy_terms, fit, stages_of, strongest
from winnow.search import measured
from winnow.search.additive import Sums, architecture, grouped
from winnow.search.anneal import Course, Point, anneal, best
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.costs import Costs
from winnow.search.exact import optimum
from winnow.search.measured import Measured
from winnow.search.selection import selection
from winnow.search.selections.exact import coefficients, limited
from winnow.train.seeds import rng

PUSHED = 200  # iterations of the first run in which depths move most
STARTS = 1000  # random starts before the smallest network is one
EARLY = ((100,) * 5, (1, 0, 0, 1, 1), (0,) * 5, (0, 0, 0, 0, 1), (0,) * 5)  # weights of variables, a row each
LATE = ((1,) * 5, (1, 3, 3, 3, 1), (1, 3, 3, 3, 3), (1, 3, 3, 3, 1), (1, 3, 3, 3, 3))


@dataclass(frozen=True)
class Problem:
    """What is annealed: grids, the model's score of a point, what it costs, its answers; how variables are drawn."""

    sizes: Sequence[int]
    score: Callable[[Point], float]
    costs: Callable[[Point], Sequence[float]]
    answers: Callable[[Point], Mapping[str, Value]]
    weights: Callable[[int, int], Sequence[float]]  # of the run and the iteration
    free: int  # so many variables, the first ones, start anywhere; the others at their least
    loose: frozenset[int]  # variables whose options have no order
    told: str
    rows: list[dict[str, object]]


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
    space, known = bench.space, {}
    with bench.shown() as watch, bench.keeper.piece(known=known):
        watch.start("select (annealing)", samples + candidates)
        seen = measured.measured(bench, samples, watch, known)
        sums, names = limited(bench, "annealing"), list(bench.most)
        staged = model == "stages" or (model is None and _has_stages(space))
        problem = _stages(space, sums, seen) if staged else _options(space, sums, seen)
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
        archs = list(dict.fromkeys(_decided(space, problem.answers(point)) for _, point in best(found, candidates)))
        scores = []
        for arch in archs:
            scores.append(bench.known_score(arch, known))
            watch.step()
    winner = archs[int(np.argmax(scores))]
    bench.say(problem.told)
    judged = [evaluated(1, arch.digest, score, arch == winner) for arch, score in zip(archs, scores, strict=True)]
    return winner, [*seen.rows(winner), *judged, *problem.rows]


def _decided(space: Space, answers: Mapping[str, Value]) -> Architecture:
    return space.decide(lambda d: answers[d.name])


def _has_stages(space: Space) -> bool:
    try:
        stages_of([space.decide(lambda d: d.values[-1])])
    except (ValueError, KeyError, TypeError):
        return False
    return True


def _stages(space: Space, sums: Sums, seen: Measured) -> Problem:
    """FOX-NAS: five variables a stage, first all depths, then all ratios, and so on."""
    try:
        fitted = fit(accuracy_terms, stages_of(seen.archs), seen.scores)
    except (ValueError, KeyError) as error:
        raise Refused(f"select.annealing: {error}") from error
    units = sorted(name.removesuffix("/depth") for name in space.decisions if name.endswith("/depth"))
    values = {name: d.values for name, d in space.decisions.items()}
    of = ("depth", "block2/ratio", "block2/kernel", "block1/ratio", "block1/kernel")
    grids = [[values.get(f"{u}/{what}", (0,)) for u in units] for what in of]
    flat = [grid for row in grids for grid in row]

    def answers(point: Point) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for name in values:
            unit, _, what = name.partition("/")
            block, _, number = what.partition("/")
            row = 0 if what == "depth" else 1 + 2 * (block == "block1") + (number == "kernel")
            at = row * len(units) + units.index(unit)
            found[name] = flat[at][point[at]]
        return found

    def score(point: Point) -> float:
        taken = [flat[i][place] for i, place in enumerate(point)]
        return float(fitted.model(np.array(taken, dtype=float).reshape(1, len(VARIABLES), len(units)))[0])

    early, late = ([w for row in rows for w in row] for rows in (EARLY, LATE))

    def weights(run: int, iteration: int) -> Sequence[float]:
        if len(units) != 5:  # published for five stages
            return [1.0] * len(flat)
        return early if run == 0 and iteration <= PUSHED else late

    pays = strongest(fitted, ACCURACY, units)
    first = ", ".join(f"{stage} {term} {value:+.2f}" for stage, term, value in pays[:5])
    told = f"  the stages explain accuracy with R2 {fitted.r2:.3f} (adjusted {fitted.adjusted:.3f}), most by {first}"
    rows = [_row(stage, term, value) for stage, term, value in pays]
    sizes = [len(grid) for grid in flat]
    return Problem(
        sizes, score, lambda p: sums.total(answers(p)), answers, weights, len(units), frozenset(), told, rows
    )


def _options(space: Space, sums: Sums, seen: Measured) -> Problem:
    """Any space: a variable a decision, and a coefficient an answer of decisions that a layer holds together."""
    x, weight = coefficients(sums.parts, seen)
    splits = np.cumsum([len(part.answers) for part in sums.parts])[:-1]
    learnt = Sums(sums.parts, [w[:, None] for w in np.split(weight, splits)], np.zeros(1))
    values = {name: d.values for name, d in space.decisions.items()}

    def answers(point: Point) -> dict[str, Value]:
        return {name: each[place] for (name, each), place in zip(values.items(), point, strict=True)}

    shares = weight * x.std(0) / (seen.scores.std() or np.nan)
    named = [(part, answer) for part in sums.parts for answer in part.answers]
    ranked = sorted(zip(named, shares, strict=True), key=lambda row: -abs(row[1]))
    rows = [_row(part.name, " ".join(map(str, answer)), float(value)) for (part, answer), value in ranked]
    first = ", ".join(f"{row['decision']} {row['option']} {row['score']:+.2f}" for row in rows[:5])
    sizes = [len(each) for each in values.values()]
    return Problem(
        sizes,
        lambda p: float(learnt.total(answers(p))[0]),
        lambda p: sums.total(answers(p)),
        answers,
        lambda run, iteration: [1.0] * len(sizes),
        len(sizes),
        frozenset(i for i, each in enumerate(values.values()) if not all(isinstance(v, int) for v in each)),
        f"  most of the accuracy that options explain is by {first}",
        rows,
    )


def _row(stage: str, term: str, value: float) -> dict[str, object]:
    """Of evidence: a standardised coefficient."""
    return {"event": 0, "decision": stage, "option": term, "score": value, "kept": False}


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
