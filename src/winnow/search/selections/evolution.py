"""Selection evolution: the best child by mutation and crossover within the limits (Guo et al. 2020, section 3.4).

Children are judged with the weights they inherit, or by proxies where nothing was trained.
"""

from dataclasses import replace
from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.options import NotNegative, Positive, Several, Share
from winnow.search.bench import Bench, Chosen, evaluated, scored
from winnow.search.costs import Costs
from winnow.search.evolve import evolution
from winnow.search.selection import selection
from winnow.search.selections.random import counted, told
from winnow.search.training_free import evolved
from winnow.train.seeds import rng


def expected(
    costs: Costs, *, population: int = 20, generations: int = 5, calibration_images: int | None = None
) -> float:
    """Seconds of all children, each on the images that judge it and on those of its BatchNorm statistics."""
    children = population * (generations + 1)
    if costs.score is not None:
        return children * costs.score
    return children * (costs.judged + (calibration_images or costs.calibration)) * costs.child_row()


@selection("children", "scores children", keeps_limits=True, evidence="children", seconds=expected)
def by_evolution(
    bench: Bench,
    *,
    population: Several = 20,
    generations: NotNegative = 5,
    parents: Positive = 10,
    mutation: Share = 0.1,
    calibration_images: Several | None = None,
) -> Chosen:
    """The best child by mutation and crossover: `population` children in each of 1 + `generations`.

    See `winnow.search.evolve`; published: 50 and 20. `calibration_images` replace those of
    the bench (published: 20,000).
    """
    sizes: dict[str, Any] = {
        "population": population,
        "generations": generations,
        "parents": parents,
        "mutation": mutation,
    }
    known: dict[str, Any] = {}
    with bench.keeper.piece(known=known):
        ranked, rows = ranking(bench, known, calibration_images=calibration_images, **sizes)
    return ranked[0], rows


def ranking(
    bench: Bench,
    known: dict[str, Any],
    *,
    population: int = 20,
    generations: int = 5,
    calibration_images: int | None = None,
    **sizes: Any,
) -> tuple[list[Architecture], list[dict[str, Any]]]:
    """All that were judged, the best first, and their rows; what `known` holds is not judged again.

    The options of `by_evolution`, whose defaults stand there and in `evolution`.
    """
    bench = replace(bench, calibration_images=calibration_images or bench.calibration_images)
    draws, sizes = rng(bench.seed, "evolution"), {**sizes, "population": population, "generations": generations}
    with bench.shown() as watch:
        watch.start("select (evolution)", population * (generations + 1))
        if bench.scorer is not None:
            judge = replace(counted(bench, watch), seen=known)
            found = evolved(bench.space, judge, draws, load=bench.load or (lambda arch: 0.0), **sizes)[1]
            return [row.architecture for row in found], [scored(row) for row in told(bench, found)]

        def score(arch: Architecture) -> float:
            watch.step()
            return bench.known_score(arch, known)

        ranked = evolution(bench.space, score, rng=draws, allowed=bench.allowed, **sizes)
    rows = [evaluated(each.generation, each.architecture.digest, each.score, each is ranked[0]) for each in ranked]
    return [each.architecture for each in ranked], rows
