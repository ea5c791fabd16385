"""Selection finalists: evolution's best children, each trained alone for a while, and the best of those."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.options import Positive, Several
from winnow.data.loaders import in_order
from winnow.search.bench import Bench, Chosen, evaluated
from winnow.search.costs import Costs
from winnow.search.selection import selection
from winnow.search.selections import evolution


def expected(
    costs: Costs,
    *,
    count: int = 4,
    epochs: int = 5,
    population: int = 20,
    generations: int = 5,
    calibration_images: int | None = None,
) -> float:
    """Seconds of evolution, and of training: a step of one child costs about three passes of its images."""
    sizes: dict[str, Any] = {
        "population": population,
        "generations": generations,
        "calibration_images": calibration_images,
    }
    return evolution.expected(costs, **sizes) + count * epochs * costs.rows * 3 * costs.child_row()


@selection(
    "children",
    "trains children",
    keeps_limits=True,
    evidence="children",
    seconds=expected,
    also=evolution.by_evolution,
)
def by_finalists(bench: Bench, *, count: Several = 4, epochs: Positive = 5, **options: Any) -> Chosen:
    """The best of `count` finalists after `epochs` of training alone: those that `evolution` ranks first.

    They are trained as stage retrain trains, with the same first values and batches for all, on split "weights", and
    judged on the images that evolution judged by. What they inherit decides who comes so far; what they learn decides.
    Architectures that are one network, as with another operation on an edge that nothing reaches, are one finalist.
    Ours. `options` are those of evolution.
    """
    known: dict[str, Any] = {}
    scores: dict[str, float] = {}
    with bench.keeper.piece(known=known, scores=scores):
        ranked, rows = evolution.ranking(bench, known, **options)
        finalists = different(bench, ranked, count)
        with bench.shown() as watch:
            for place, arch in enumerate(finalists, 1):
                if arch.digest not in scores:
                    child = bench.trained(arch, epochs, watch, f"finalist {place} of {len(finalists)}")
                    scores[arch.digest] = bench.judge(child, in_order(bench.needed("judged"), bench.batch))[0]
    best = max(finalists, key=lambda arch: scores[arch.digest])  # of equals the one that evolution prefers
    last = 1 + max(row["event"] for row in rows)
    after = [evaluated(last, arch.digest, scores[arch.digest], arch is best) for arch in finalists]
    return best, [*({**row, "kept": False} for row in rows), *after]


@torch.no_grad()
def different(bench: Bench, ranked: Iterable[Architecture], count: int) -> list[Architecture]:
    """The first `count` of `ranked` whose children answer, to the bit, what none before them does.

    Of most spaces `canonical` says nothing, so that only answers tell which architectures are one network.
    """
    rows = next(iter(in_order(bench.needed("judged"), bench.batch)))[0]
    found: list[Architecture] = []
    answers: list[Tensor] = []
    for arch in ranked:
        if len(found) == count:
            break
        answer = bench.child(arch)(rows)
        if not any(torch.equal(answer, other) for other in answers):
            found.append(arch)
            answers.append(answer)
    return found
