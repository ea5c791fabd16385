"""From evidence to an architecture: the largest weights, or the masks that hurt most."""

import functools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.space import Space


def magnitude(space: Space, weights: Mapping[str, Tensor]) -> Architecture:
    """The heaviest option of each decision; a subset keeps the candidates with the heaviest option inside.

    `weights[name]` has shape (options,) and is a softmax, so that edges compare. Ties go to the earlier option.
    Refused where a candidate has nothing to weigh. Source: Liu et al. 2019, arXiv:1806.09055, section 2.4.
    """

    numbers = {name: vector.tolist() for name, vector in weights.items()}

    def strength(d: Decision, option: str | int) -> float:
        if d.name in numbers:
            return numbers[d.name][d.options.index(option)]
        inside = [strength(inner, o) for inner in space.below(d, option) for o in _selectable(inner)]
        if not inside:
            raise Refused(
                f"'magnitude' finds no logits for option {option!r} of decision {d.name!r}, nor below it: "
                "select with perturbation or evolution"
            )
        return max(inside)

    def choose(d: Decision) -> Value:
        if len(d.values) == 1:
            return d.values[0]
        best = sorted(_selectable(d), key=functools.partial(strength, d), reverse=True)[: d.pick]
        return best[0] if d.pick == 1 else tuple(sorted(best, key=d.options.index))

    return space.decide(choose)


@dataclass(frozen=True)
class Mask:
    """One row of evidence: how well the supernet does without `option` of `decision`, in the given event."""

    event: int
    decision: str
    option: str | int
    accuracy: float  # percent
    loss: float
    kept: bool


def perturbation(
    space: Space,
    weights: Callable[[], Mapping[str, Tensor]],
    *,
    evaluate: Callable[[Setting], tuple[float, float]],
    tune: Callable[[Mapping[str, Value]], None],
    rng: random.Random,
    criterion: str = "accuracy",
    watch: Callable[[int], None] = lambda masks: None,
) -> tuple[Architecture, list[Mask]]:
    """Decide what hurts most to lose, one decision at a time, with fine-tuning in between (DARTS-PT).

    First every decision with weights, in an order drawn from `rng` for each cell type: each option's weight is set to
    zero, the others are not renormalised, and the option whose absence leaves the lowest accuracy stays. Then every
    subset decision: its candidates are left out singly, and those with the lowest accuracy stay.

    `weights()` are the present mixture weights; `evaluate(setting)` returns (accuracy, loss) on held-out images and
    must change nothing; `tune(decided)` trains on between two events. `criterion` is "accuracy", ties broken by the
    loss, or "loss"; remaining ties go to the earlier option. `watch` is told the number of masks evaluated.
    Source: Wang et al. 2021, arXiv:2108.04392, algorithm 1 and section 4; topology by single removal as in their code.
    """
    decided: dict[str, Value] = {}
    evidence: list[Mask] = []

    def harm(setting: Setting) -> tuple[float, ...]:
        accuracy, loss = evaluate(setting)
        watch(1)
        return accuracy, loss

    def rank(scores: dict[str | int, tuple[float, ...]]) -> list[str | int]:
        by = (lambda o: (-scores[o][1],)) if criterion == "loss" else (lambda o: (scores[o][0], -scores[o][1]))
        return sorted(scores, key=by)  # stable: the earlier option first

    events = _events(space, rng)
    for number, event in enumerate(events):
        for d in event:
            setting = {**weights(), **decided}
            if d.pick == 1:
                mixed = weights()[d.name]
                masked = {o: _without(mixed, d.options.index(o)) for o in _selectable(d)}
            else:
                masked = {o: tuple(other for other in d.options if other != o) for o in _selectable(d)}
            scores = {o: harm({**setting, d.name: mask}) for o, mask in masked.items()}
            kept = sorted(rank(scores)[: d.pick], key=d.options.index)
            decided[d.name] = kept[0] if d.pick == 1 else tuple(kept)
            evidence += [Mask(number, d.name, o, *score, kept=o in kept) for o, score in scores.items()]
        if number + 1 < len(events):
            tune(decided)
    return space.decide(lambda d: decided[d.name] if d.name in decided else d.values[0]), evidence


def masks(space: Space) -> int:
    """How many masks `perturbation` evaluates: every option of every decision that leaves something to decide."""
    return sum(len(_selectable(d)) for d in space.decisions.values() if len(d.values) > 1)


def _events(space: Space, rng: random.Random) -> list[list[Decision]]:
    """One decision of each cell type an event; subsets only after all others, each type in its own random order."""
    events: list[list[Decision]] = []
    open_decisions = [d for d in space.decisions.values() if len(d.values) > 1]
    for phase in ([d for d in open_decisions if d.pick == 1], [d for d in open_decisions if d.pick > 1]):
        types: dict[str, list[Decision]] = {}
        for d in phase:
            types.setdefault(d.group, []).append(d)
        for members in types.values():
            rng.shuffle(members)
        longest = max((len(members) for members in types.values()), default=0)
        events += [[members[i] for members in types.values() if i < len(members)] for i in range(longest)]
    return events


def _selectable(d: Decision) -> list[str | int]:
    return [option for option in d.options if option not in d.mixture_only]


def _without(weights: Tensor, index: int) -> Tensor:
    weights = weights.detach().clone()
    weights[index] = 0.0
    return weights
