"""Training a supernet while its space gets narrower: what ABS and NEAS have in common.

One loop, one schedule, one stream of paths; at the end of some epochs options are scored and the worst are dropped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Option
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.search.bench import Bench, Found
from winnow.search.gradients import Objective
from winnow.search.layers import Key, Layer
from winnow.search.recipe import Recipe
from winnow.search.several import on_one_curve, train_children
from winnow.train.evaluate import Batch
from winnow.train.loop import Step

Scores = Mapping[Key, float]  # what has none is never dropped
Path = Callable[[Space], Architecture]


def worst(scores: Scores, view: Space, layers: Sequence[Layer], count: int, most: float = math.inf) -> list[Key]:
    """The lowest `count` of all, one after another, each only while a better one of its layer is left.

    Of a layer `most` at most.
    """
    left = {layer.first: set(layer.options(view)) for layer in layers}
    gone = dict.fromkeys(left, 0)
    dropped: list[Key] = []
    for first, option in sorted(scores, key=lambda key: scores[key]):
        if len(dropped) < count and len(left[first]) > 1 and gone[first] < most:
            left[first].discard(option)
            gone[first] += 1
            dropped.append((first, option))
    return dropped


def of_each(scores: Scores, view: Space, layers: Sequence[Layer]) -> list[Key]:
    """The lowest of every layer that has several."""
    found = []
    for layer in layers:
        keys = [(layer.first, o) for o in layer.options(view) if (layer.first, o) in scores]
        if len(layer.options(view)) > 1 and keys:
            found.append(min(keys, key=lambda key: scores[key]))
    return found


@dataclass(frozen=True)
class Pace:
    """After `first` epochs options are dropped, then after every `later` ones, while more than `until` networks are
    left.
    """

    first: int
    later: int
    until: float

    def due(self, done: int) -> bool:
        return done >= self.first and (done - self.first) % self.later == 0

    def check(self, space: Space, layers: Sequence[Layer], epochs: int, name: str) -> None:
        """Refused where nothing would ever be dropped."""
        count = space.count()
        if not any(len(layer.options(space)) > 1 for layer in layers):
            raise Refused(f"strategy {name} drops options of single decisions, and here none has two: use another")
        if count <= self.until:
            raise Refused(
                f"the space has {count:,} architectures, which is too small to shrink to search.{name}.until, "
                f"{self.until:,.0f}: lower that, or search the whole space with spos"
            )
        if epochs < self.first:
            raise Refused(
                f"search.epochs is {epochs}, and search.{name}.first lets {self.first} pass before anything is "
                "dropped: raise the one or lower the other"
            )


def shrinking(
    bench: Bench,
    recipe: Recipe,
    layers: Sequence[Layer],
    pace: Pace,
    *,
    path: Path,
    loss: Objective | None = None,
    score: Callable[[Space, int], Scores],
    drop: Callable[[Scores, Space], Sequence[Key]],
    dropped: Callable[[int], None] = lambda count: None,
    before: Callable[[int], None] = lambda epoch: None,
) -> Found:
    """Train `path(view)` a batch by `loss` (the bench's objective); at the `pace` narrow the view by what `drop` says
    of `score(view, epochs done)`.

    The optimiser, the curve of the rate (a line unless the recipe says otherwise) and the paths' stream go on; what is
    dropped keeps its weights and is trained no more. `dropped(count)` is told how many options went, `before(epoch)`
    comes as an epoch begins. When few enough are left, the rest of the epochs train these.
    """
    space, learn = bench.space, loss or bench.objective
    live: dict[str, list[Option]] = {name: list(d.options) for name, d in space.decisions.items()}
    bench.keeper.add(shrunk=live)  # a chain of searches has a `live` of its own

    def lesson(epoch: int) -> Step:
        view = space.within(live)

        def step(batch: Batch) -> Tensor:
            found = learn(batch, path(view))
            found.backward()
            return found

        return step

    def after(epoch: int) -> None:
        view = space.within(live)
        rivals = any(len(layer.options(view)) > 1 for layer in layers)
        if not pace.due(epoch + 1) or not rivals or view.count() <= pace.until:
            return
        scores = score(view, epoch + 1)
        gone = drop(scores, view)
        names = {layer.first: layer.names for layer in layers}
        for first, option in gone:
            for name in names[first]:
                live[name].remove(option)
        dropped(len(gone))
        told = ", ".join(f"{first} {option} ({scores[first, option]:.4f})" for first, option in gone) or "nothing"
        bench.say(f"  after epoch {epoch + 1} dropped {told}; {space.within(live).count():,} architectures are left")

    curve = on_one_curve(bench, recipe, usual="linear")
    train_children(bench, recipe, lesson, lambda epoch: {}, begin=before, after=after, **curve)
    view = space.within(live)
    if view.count() > pace.until:
        bench.say(f"  {view.count():,} architectures are left, more than {pace.until:,.0f}: more epochs would go on")
    return Found(view, metrics={"architectures_log10": math.log10(view.count())})
