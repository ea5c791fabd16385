"""Selection magnitude: the option with the largest weight, decision by decision (DARTS)."""

import functools
from collections.abc import Mapping

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.bench import Bench, Chosen
from winnow.search.selection import selection


@selection("logits", "compares trained logits")
def by_magnitude(bench: Bench) -> Chosen:
    """The heaviest option of each decision, by the mixture weights of the search (DARTS)."""
    return magnitude(bench.space, bench.weights()), []


def magnitude(space: Space, weights: Mapping[str, Tensor]) -> Architecture:
    """The heaviest option of each decision; a subset keeps the candidates with the heaviest option inside.

    `weights[name]` has shape (options,) and is a softmax, so that edges compare; those of a subset, where it has some,
    multiply the ones inside (Xu et al. 2020, arXiv:1907.05737). Ties go to the earlier option.
    Refused where a candidate has nothing to weigh. Source: Liu et al. 2019, arXiv:1806.09055, section 2.4.
    """

    return space.decide(lambda d: heaviest(space, weights, d))


def heaviest(space: Space, weights: Mapping[str, Tensor], decision: Decision) -> Value:
    """What `magnitude` answers to one decision. Refused likewise."""

    def strength(d: Decision, option: str | int) -> float:
        own = weights[d.name].tolist()[d.options.index(option)] if d.name in weights else 1.0
        if d.name in weights and not d.several:
            return own
        inside = [strength(inner, o) for inner in space.below(d, option) for o in selectable(inner)]
        if not inside:
            raise Refused(
                f"'magnitude' finds no logits for option {option!r} of decision {d.name!r}, nor below it: "
                "select with perturbation or evolution"
            )
        return own * max(inside)

    if len(decision.values) == 1:
        return decision.values[0]
    best = sorted(selectable(decision), key=functools.partial(strength, decision), reverse=True)[: decision.pick]
    return best[0] if not decision.several else tuple(sorted(best, key=decision.options.index))


def selectable(d: Decision) -> list[str | int]:
    """The options that an architecture can hold."""
    return [option for option in d.options if option not in d.mixture_only]
