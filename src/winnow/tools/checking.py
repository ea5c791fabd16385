"""`winnow check`: the contract of a strategy or a selection, clause by clause, on problems whose answer is known."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from winnow.config.methods import selection_options, strategy_options
from winnow.core.architecture import Architecture
from winnow.core.dotted import function_at
from winnow.core.errors import Refused, told
from winnow.core.space import Space
from winnow.data.loaders import Split
from winnow.proxies.sizes import Sizes, later, sizes_of
from winnow.search.bench import Bench, Found, Further
from winnow.search.methods import STRATEGIES
from winnow.search.methods.darts import darts
from winnow.search.mixture import Between
from winnow.search.objective import objective
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selection import Selection, selection_of
from winnow.search.selections import SELECTIONS
from winnow.search.selections.magnitude import magnitude
from winnow.search.strategy import (
    ANY,
    CHILDREN,
    DISTRIBUTION,
    INITIALISED,
    LOGITS,
    MIXTURE,
    TRIALS,
    Strategy,
    decided_softmax,
    strategy_of,
)  # fmt: skip
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.tools.planted import SEES, batches, planted
from winnow.train.checkpoint import Keeper
from winnow.train.packing import from_bytes, to_bytes
from winnow.train.seeds import seeded
from winnow.train.watch import Watch

SMALL: Mapping[str, Mapping[str, Any]] = {  # of images: options under which it takes a moment
    "nas_bench_101": {"channels": 4, "cells": 1},
    "nas_bench_201": {"channels": 4, "cells": 1},
    "darts": {"channels": 4, "layers": 3},
    "ensemble": {"backbone": "macro", "width": 0.125},
    "factorised": {"channels": 4, "layers": 3},
    "macro": {"width": 0.125},
    "mobile": {"width": 0.1},
    "cream": {"width": 0.25, "layers": [1, 1, 1, 1, 1]},
    "multibranch": {"operations": ["lb3_t1", "lb5_t1", "lb3_t3"], "cells": [1, 0, 0, 0, 0, 0, 0], "width": 0.25},
    "ofa": {"width": 0.25, "depths": [1, 2]},
    "resnet": {"width": 0.0625, "bits": ["w2a2", "w4a4"]},
    "vit": {"size": "micro", "depths": [1, 2]},
}
EVIDENCE = {"event", "decision", "option", "accuracy", "loss", "score", "kept"}
RECIPE = Recipe(epochs=12, lr=0.1, logits_lr=0.1, logits_weight_decay=0.0)
Clause = tuple[str, Callable[[], None]]


class Broken(Exception):
    """What breaks a clause, in a sentence."""


def check(path: str, say: Callable[[str], None]) -> None:
    """Hold what is at `path`, a name of winnow's or "my_package.my_module:name", against its contract.

    Which of the two it is, is told by the decorator; a bare function with a parameter `recipe` is a strategy.
    Refused, naming the clause, where one is broken.
    """
    known = {**STRATEGIES, **SELECTIONS}
    function = function_at(known.get(path, path), f"check {path!r}")
    is_strategy = hasattr(function, "strategy") or (
        not hasattr(function, "selection") and "recipe" in function.__code__.co_varnames
    )
    for clause, run in of_strategy(path, strategy_of(function)) if is_strategy else of_selection(path, function):
        try:
            with seeded(0):
                run()
        except Exception as error:
            reason = str(error) if isinstance(error, Broken | Refused) else told(error)
            raise Refused(f"{path} breaks the contract: {clause}: {reason}") from error
        say(f"  holds: {clause}")


def of_strategy(path: str, record: Strategy) -> Iterator[Clause]:
    """The clauses of a strategy; those that do not concern what it leaves are left out."""
    yield "every option has a type, and its defaults are taken", lambda: _defaults(strategy_options(path))
    if TRIALS in record.leaves:
        return
    yield "it returns the space that it was given, or a view of it, and leaves what it says", lambda: _leaves(record)
    if {CHILDREN, LOGITS} & record.leaves and INITIALISED not in record.leaves and record.watched:
        yield "it finds the candidate that sees, where the others are blind", lambda: _finds(record)
    yield "the same seed gives the same bytes", lambda: _repeats(lambda keeper: _searched(record, keeper))
    yield (
        "left anywhere and begun again, it ends in the same bytes",
        lambda: _resumes(lambda keeper: _searched(record, keeper)),
    )
    for name in SMALL:
        yield f"it searches space {name}, or says why not", lambda name=name: _searches(record, name)


def of_selection(path: str, function: Callable[..., Any]) -> Iterator[Clause]:
    """The clauses of a selection."""
    record = selection_of(function)
    yield "every option has a type, and its defaults are taken", lambda: _defaults(selection_options(path))
    if record.needs == TRIALS:
        return
    yield "it returns an architecture of the space, and rows of evidence", lambda: _chooses(record)
    if record.needs in (LOGITS, MIXTURE, CHILDREN, DISTRIBUTION):
        yield (
            "what it chooses is no worse than most, where one candidate sees and the others are blind",
            lambda: _chooses_what_sees(record),
        )
    if record.keeps_limits:
        yield "it keeps limits", lambda: _keeps(record)
    yield "the same seed gives the same answer", lambda: _repeats(lambda keeper: _chosen(record, keeper))
    yield (
        "left anywhere and begun again, it gives the same answer",
        lambda: _resumes(lambda keeper: _chosen(record, keeper)),
    )
    for name in SMALL:
        yield f"it chooses from space {name}, or says why not", lambda name=name: _chooses_from(record, name)


def _defaults(section: Any) -> None:
    given = {name: field.get_default(call_default_factory=True) for name, field in section.model_fields.items()}
    section.model_validate(given)


# ---- strategies


def _bench(space: Space, train: list, valid: list, **more: Any) -> Bench:
    told = {"objective": objective(space, IMAGES.criterion({}, 0)), "sizes": sizes_of_images(space, train)}
    return Bench(space, 0, train=train, valid=valid, **{**told, **more})


def sizes_of_images(space: Space, batches: list) -> Sizes:
    """Sizes on the images of `batches`, counted when they are asked for."""
    return later(lambda: sizes_of(space, tuple(batches[0][0].shape[1:])))


def _found(record: Strategy, space: Space, recipe: Recipe = RECIPE, keeper: Keeper | None = None) -> Found:
    bench = _bench(record.formed(space, {}), batches(seed=1), batches(seed=2), keeper=keeper or Keeper())
    return record.run(bench, recipe, dict(record.short))


def _leaves(record: Strategy) -> None:
    space, watch = planted(), Told()
    bench = replace(_bench(record.formed(space, {}), batches(seed=1), batches(seed=2)), watch=watch)
    found = record.run(bench, replace(RECIPE, epochs=9), dict(record.short))
    if not isinstance(found, Found):
        raise Broken(f"it returns a {type(found).__name__}, not winnow.Found")
    if found.space.model is not bench.space.model:
        raise Broken("the space that it returns is another network")
    if {LOGITS, MIXTURE, DISTRIBUTION} & record.leaves and found.logits is None and record.leaves != ANY:
        raise Broken("it says that it leaves logits or a mixture, and returns no logits")
    if found.logits is not None and not all(vector.isfinite().all() for vector in found.logits.values()):
        raise Broken("its logits are not finite")
    if found.trained and not all(tensor.isfinite().all() for tensor in found.space.state_dict().values()):
        raise Broken("its weights are not finite")
    if found.trained and not watch.epochs:
        raise Broken("it tells `bench.watch` of no epoch: call bench.watch.epoch(number, {...}), as the loops do")


def _finds(record: Strategy) -> None:
    found = _found(record, planted(), replace(RECIPE, epochs=25))
    if found.logits is not None and LOGITS in record.leaves:
        weights: Any = record.read(found.logits)
        chosen = magnitude(found.space, weights)
        if set(chosen.values()) != {SEES}:
            raise Broken(f"its logits prefer {dict(chosen)}")


def _searched(record: Strategy, keeper: Keeper) -> dict[str, Tensor]:
    with seeded(7):
        found = _found(record, planted(), replace(RECIPE, epochs=9), keeper)
    return {**found.space.state_dict(), **{f"logits {n}": v for n, v in (found.logits or {}).items()}}


def _searches(record: Strategy, name: str) -> None:
    space, images = _small(name)
    bench = _bench(record.formed(space, {}), images[:2], images[2:])
    try:
        record.run(bench, replace(RECIPE, epochs=2, lr=0.01), dict(record.short))
    except Refused:
        return  # in a sentence, before or while it searches


# ---- selections


def _selecting(space: Space, needs: str, images: list, keeper: Keeper, epochs: int = 25) -> Bench:
    """A bench with a supernet that darts trained, and its logits, where the selection asks for such."""
    judged = _split("judged", images)
    logits = None
    trains = needs not in (INITIALISED,) and all(hole.mixes for hole in space.holes)
    if trains:
        recipe = replace(RECIPE, epochs=epochs)
        logits = darts(_bench(space, images, images), recipe).logits

    def between(draws: torch.Generator) -> Between:
        return decided_softmax(space, objective(space, IMAGES.criterion({}, 0)), draws)

    return _bench(
        space,
        images,
        images,
        splits={"weights": judged},
        judged=judged,
        batch=24,
        calibration_images=48,
        logits=logits,
        relax=softmax,
        further=Further(RECIPE, between) if trains else None,
        keeper=keeper,
    )


def _chosen(record: Selection, keeper: Keeper) -> dict[str, Any]:
    with seeded(7):
        arch, rows = record.run(_selecting(planted(), record.needs, batches(seed=1), keeper), {})
    return {"architecture": arch.to_json(), "evidence": rows}


def _chooses(record: Selection) -> None:
    space = planted()
    answer = record.run(_selecting(space, record.needs, batches(seed=1), Keeper()), {})
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Architecture)):
        raise Broken("it returns something else than (architecture, rows of evidence)")
    space.check(answer[0])
    foreign = {key for row in answer[1] for key in row} - EVIDENCE
    if foreign:
        raise Broken(f"evidence has columns {sorted(EVIDENCE)}, and no {sorted(foreign)[0]!r}")


def _chooses_what_sees(record: Selection) -> None:
    bench = _selecting(planted(), record.needs, batches(seed=1), Keeper())
    every = {arch.digest: bench.score(arch) for arch in bench.space.every()}
    arch, _ = record.run(bench, {})
    worse = sum(each < every[arch.digest] for each in every.values())
    if worse < len(every) / 2:
        raise Broken(f"it chose {dict(arch)}, and only {worse} of {len(every)} architectures are worse")


def _keeps(record: Selection) -> None:
    for allowed in ("noise", "blind"):
        bench = _selecting(planted(), record.needs, batches(seed=1), Keeper())

        def within(arch: Architecture, only: str = allowed) -> bool:
            return bool(arch["e0"] == only)

        try:
            arch, _ = record.run(replace(bench, allowed=within, limits="at most what is allowed"), {})
        except Refused:
            continue
        if not within(arch):
            raise Broken(f"within a limit that allows {allowed!r} alone for 'e0' it chose {dict(arch)}")


def _chooses_from(record: Selection, name: str) -> None:
    space, images = _small(name)
    try:
        arch, _ = record.run(_selecting(space, record.needs, images, Keeper(), 1), {})
    except Refused:
        return
    space.check(arch)


# ---- both


def _repeats(run: Callable[[Keeper], dict[str, Any]]) -> None:
    if not _same(run(Keeper()), run(Keeper())):
        raise Broken("two runs by one seed differ: draw from bench.seed alone, as winnow.train.seeds does")


def _resumes(run: Callable[[Keeper], dict[str, Any]]) -> None:
    kept: list[bytes] = []
    whole = run(Keeper(lambda state: kept.append(to_bytes(state))))
    if not _same(whole, run(Keeper())):
        raise Broken("what keeps checkpoints ends otherwise")
    points = sorted({0, len(kept) - 1, *random.Random(0).sample(range(len(kept)), min(4, len(kept)))}) if kept else []
    for number in points:
        if not _same(whole, run(Keeper(found=from_bytes(kept[number])))):
            raise Broken(
                f"left at {number + 1} of {len(kept)} points it ends otherwise: bench.keeper.add what it draws"
            )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def equal(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else repr(a) == repr(b)

    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)


def _small(name: str) -> tuple[Space, list[tuple[Tensor, Tensor]]]:
    """A space of winnow's and four batches of noise for it."""
    space = build(name, SMALL[name], classes=4, image_channels=1, image_size=8)
    draws = torch.Generator().manual_seed(0)
    return space, [(torch.randn(8, 1, 8, 8, generator=draws), torch.arange(8) % 4) for _ in range(4)]


class Told(Watch):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch(self, epoch: int, metrics: Mapping[str, float], weights: Mapping[str, Tensor] | None = None) -> None:
        self.epochs += 1


class Plain:
    """Columns as they are."""

    reads = ("x",)

    def draw(self, count: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        return {}

    def make(self, columns: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Tensor:
        return columns["x"]


def _split(name: str, images: list[tuple[Tensor, Tensor]]) -> Split:
    columns = {"x": torch.cat([x for x, _ in images]), "label": torch.cat([y for _, y in images])}
    return Split(name, columns, "label", Plain(), {"classes": list("abcd")}, "planted")
