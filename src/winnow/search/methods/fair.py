"""FairNAS: every candidate is trained as often as every other, at every moment (Chu et al. 2021, arXiv:1907.01845)."""

import random
from typing import Any, Literal

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.several import backward, largest, on_one_curve, smallest, train_children
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch
from winnow.train.seeds import rng

MOST = 256  # paths a batch; subsets of many candidates are more


@strategy("children", watched=False, shared=True)
def fair(bench: Bench, recipe: Recipe, *, gradient: Literal["sum", "mean"] = "sum", judge: bool = True) -> Found:
    """Each batch goes through as many paths as a decision has options, no two of which take the same; then one step.

    Options come in a random order of each decision, which begins anew when it is used up: where decisions have
    different numbers of options, they are never taken more than once more often than others. Shared weights get the
    sum of all gradients, as third parties' codes have it (the authors' is not public), or with `gradient` "mean" the
    mean. The rate falls batch by batch, as a cosine unless the recipe says otherwise; published are 150 epochs, batch
    256, lr 0.045 down to 0, momentum 0.9, weight decay 4e-5 and no clipping. With `judge`, the networks of all first
    and of all last options are judged after every epoch. Refused where a decision has more than 256 answers.
    """
    space = bench.space
    turns = Turns(space, rng(bench.seed, "paths"))
    bench.keeper.add(queues=turns.queues, draws=turns.draws)
    share = 1 / turns.paths if gradient == "mean" else 1.0

    def step(batch: Batch) -> Tensor:
        losses = [backward(share * bench.objective(batch, turns.path())) for _ in range(turns.paths)]
        total: Any = sum(losses)
        return total / (share * len(losses))

    ends = {"first": space.decide(smallest), "last": space.decide(largest)}
    judged = ends if judge else {}
    train_children(bench, recipe, lambda epoch: step, lambda epoch: judged, **on_one_curve(bench, recipe))
    return Found(space)


class Turns:
    """Paths in which the options of each decision take turns: all of them once, in a random order, before any again."""

    def __init__(self, space: Space, draws: random.Random):
        self.space, self.draws = space, draws
        self.queues: dict[str, list[int]] = {}  # the places of the options that are still to come, by decision
        self.paths = max(len(d.values) for d in space.decisions.values())
        if self.paths > MOST:
            name = next(d.name for d in space.decisions.values() if len(d.values) == self.paths)
            raise Refused(
                f"strategy fair trains all answers of a decision on each batch, and {name!r} has {self.paths:,}: "
                f"it takes up to {MOST}; search this space with spos or sandwich"
            )

    def path(self) -> Architecture:
        return self.space.decide(self._next)

    def _next(self, d: Decision) -> Value:
        queue = self.queues.setdefault(d.name, [])
        if not queue:
            queue += self.draws.sample(range(len(d.values)), len(d.values))
        return d.values[queue.pop()]
