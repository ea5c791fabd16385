"""Training a supernet while its space gets narrower: what ABS and NEAS have in common.

One loop, one schedule, one stream of paths; at the end of some epochs options are scored and the worst are dropped.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.decision import Option
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.several import on_one_curve, train_children
from winnow.train.evaluate import Batch
from winnow.train.loop import Step

Key = tuple[str, Option]  # the first decision of a layer, and one of its options
Scores = Mapping[Key, float]  # what has none is never dropped
Path = Callable[[Space], Architecture]


@dataclass(frozen=True)
class Layer:
    """Decisions over the same candidates: members of an ensemble that share their weights. Most layers have one."""

    names: tuple[str, ...]

    @property
    def first(self) -> str:
        return self.names[0]

    def options(self, view: Space) -> tuple[Option, ...]:
        """What an architecture of `view` may take here."""
        d = view.decisions[self.first]
        return tuple(option for option in d.options if option not in d.mixture_only)


def layers_of(space: Space) -> list[Layer]:
    """The layers of the decisions that take one option each."""
    alike: dict[str, int] = {}  # decision → its layer
    owner: dict[int, int] = {}  # a candidate → the layer of the first decision that holds it
    for hole in space.holes:
        for d in hole.decisions:
            if not d.several:
                held = [id(module) for module in hole.candidates.values()] if isinstance(hole, Choice) else []
                known = [owner[each] for each in held if each in owner]
                number = alike.setdefault(d.name, known[0] if known else len(alike))
                owner.update({each: number for each in held if each not in owner})
    groups: dict[int, list[str]] = {}
    for name, number in alike.items():
        groups.setdefault(number, []).append(name)
    return [Layer(tuple(names)) for names in groups.values()]


def held(layers: Sequence[Layer], arch: Mapping[str, Any]) -> Iterator[Key]:
    """The options that an architecture takes, layer by layer; members of an ensemble may take several."""
    for layer in layers:
        for option in dict.fromkeys(arch[name] for name in layer.names if name in arch):
            yield layer.first, option


def worst(scores: Scores, view: Space, layers: Sequence[Layer], count: int) -> list[Key]:
    """The lowest `count` of all, one after another, each only while a better one of its layer is left."""
    left = {layer.first: set(layer.options(view)) for layer in layers}
    dropped: list[Key] = []
    for first, option in sorted(scores, key=lambda key: scores[key]):
        if len(dropped) < count and len(left[first]) > 1:
            left[first].discard(option)
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
    score: Callable[[Space, int], Scores],
    drop: Callable[[Scores, Space], Sequence[Key]],
    dropped: Callable[[int], None] = lambda count: None,
    before: Callable[[int], None] = lambda epoch: None,
) -> Found:
    """Train `path(view)` a batch, and at the `pace` narrow the view by what `drop` says of `score(view, epochs done)`.

    The optimiser, the curve of the rate (a line unless the recipe says otherwise) and the paths' stream go on; what is
    dropped keeps its weights and is trained no more. `dropped(count)` is told how many options went, `before(epoch)`
    comes as an epoch begins. When few enough are left, the rest of the epochs train these.
    """
    space = bench.space
    live: dict[str, list[Option]] = {name: list(d.options) for name, d in space.decisions.items()}
    bench.keeper.add(shrunk=live)  # a chain of searches has a `live` of its own

    def lesson(epoch: int) -> Step:
        view = space.within(live)

        def step(batch: Batch) -> Tensor:
            loss = bench.objective(batch, path(view))
            loss.backward()
            return loss

        return step

    def after(epoch: int) -> None:
        view = space.within(live)
        if not pace.due(epoch + 1) or view.count() <= pace.until:
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
