"""ABS: the space shrinks by how far the weights of children turn (Hu et al. 2020, arXiv:2004.13431)."""

import copy
import random
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from winnow.core.architecture import Architecture
from winnow.core.choosers import Chooser, uniform
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Positive, Rate
from winnow.core.space import Space
from winnow.proxies.sizes import sizes_of
from winnow.search.angle import SKIPS, Angles
from winnow.search.bench import Bench, Found
from winnow.search.layers import Key, Layer, held, layers_of
from winnow.search.recipe import Recipe
from winnow.search.shrink import Pace, Scores, of_each, shrinking, worst
from winnow.search.strategy import strategy
from winnow.spaces.graphs import ways
from winnow.train.seeds import rng

TRIES = 100  # draws for each child that an option lacks


@strategy("children", watched=False, shared=True, short={"first": 1, "until": 1, "children": 5})
def angle_based(
    bench: Bench,
    recipe: Recipe,
    *,
    first: Positive = 100,
    later: Positive = 5,
    until: Rate = 1e6,
    drop: NotNegative = 7,
    children: Positive = 1000,
    refresh: NotNegative = 50,
    since: NotNegative = 0,
    max_macs: Rate | None = None,
) -> Found:
    """Train uniform paths; drop the options whose children have turned least; go on, on the same schedule.

    After `first` epochs, then after every `later` ones, until no more than `until` architectures are left. An option is
    worth the mean angle (`winnow.search.angle`) of the first `children` different random ones that hold it, or of all
    there are (3125 for those of NAS-Bench-201, as published). `drop` so many of the whole space at a time, never the
    last or the best of its decision; 0: the worst of each decision (published for FairNAS' and DARTS' space). Angles
    are against the weights of the beginning, or after `since` epochs, and once more than `refresh` options went against
    those of that moment (0: never, as published for cells). Children of more than `max_macs` (for an image as searched)
    do not count; an option without any stays. In chains, children that are scored get as many identities as are drawn
    uniformly; paths do not.

    Defaults are published for SPOS' space: epochs 250 of which 195 are run, batch 512, lr 0.25 down to 5e-4 in a line,
    momentum 0.9, weight decay 4e-5 on matrices alone, label smoothing 0.1 (here `objective` decides), gradients clipped
    by value at 5 (here by their norm). Decisions that take several options, and options of mixtures alone, stay.
    Elastic layers count with the part that a child uses, which the paper leaves open. Search the view that it returns
    with another strategy in a chain, as the paper does, or select from this supernet.
    """
    space, layers = bench.space, layers_of(bench.space)
    pace = Pace(first, later, until)
    pace.check(space, layers, recipe.epochs, "abs")
    draws, start = rng(bench.seed, "paths"), copy.deepcopy(space)
    tally = {"dropped": 0, "renewed": 0}
    bench.keeper.add(draws=draws, start=start, tally=tally)

    def batch() -> Any:
        return next(iter(bench.valid))[0][:1]

    def renew() -> None:
        start.load_state_dict(space.state_dict())

    def dropped(count: int) -> None:
        tally["dropped"] += count
        if refresh and tally["dropped"] > refresh and not tally["renewed"]:
            tally["renewed"] = 1
            renew()

    sizes = None if max_macs is None else sizes_of(space, tuple(batch().shape[1:]))

    def allowed(arch: Architecture) -> bool:
        return sizes is None or max_macs is None or sizes(arch)["macs"] <= max_macs

    def score(view: Space, done: int) -> Scores:
        found = pools(view, layers, children, rng(bench.seed, "children", done), allowed)
        if not any(found.values()):
            raise Refused(f"no child that was drawn is within search.abs.max_macs, {max_macs:,.0f}: raise it")
        angle = Angles(space, start, batch)
        return mean_angles(found, children, angle)

    return shrinking(
        bench,
        recipe,
        layers,
        pace,
        path=lambda view: view.decide(uniform(draws)),
        score=score,
        drop=lambda s, view: worst(s, view, layers, drop) if drop else of_each(s, view, layers),
        dropped=dropped,
        before=lambda epoch: renew() if epoch and epoch == since else None,
    )


def mean_angles(found: dict[Key, list[Architecture]], count: int, angle: Callable[[Architecture], float]) -> Scores:
    """The mean angle of the first `count` children of each option; what has none is left out."""
    known: dict[Architecture, float] = {}
    for arch in (arch for pool in found.values() for arch in pool[:count]):
        if arch not in known:
            known[arch] = angle(arch)
    return {key: statistics.fmean(known[arch] for arch in pool[:count]) for key, pool in found.items() if pool}


def pools(
    view: Space,
    layers: Sequence[Layer],
    count: int,
    draws: random.Random,
    allowed: Callable[[Architecture], bool],
) -> dict[Key, list[Architecture]]:
    """Different children by the options that they hold, for each option that has rivals: `count` or more, if there are.

    What is drawn for one option counts for all that it holds, in the order of drawing.
    """
    rivals = {layer.first: layer.options(view) for layer in layers if len(layer.options(view)) > 1}
    found: dict[Key, list[Architecture]] = {(first, option): [] for first in rivals for option in rivals[first]}
    seen: set[Architecture] = set()

    def put(arch: Architecture) -> None:
        if arch not in seen:
            seen.add(arch)
            if allowed(arch):
                for key in held(layers, arch):
                    if key in found:
                        found[key].append(arch)

    if view.count() <= count * max(map(len, rivals.values()), default=1):  # more than the pools take: all there are
        for arch in view.every():
            put(arch)
        return found
    chain = not ways(view.decide(lambda d: d.values[0]))
    for key, pool in found.items():
        for _ in range(TRIES * max(0, count - len(pool))):
            if len(pool) >= count:
                break
            put(view.decide(child(view, layers, key, draws, chain)))
    return found


def child(view: Space, layers: Sequence[Layer], key: Key, draws: random.Random, chain: bool) -> Chooser:
    """A random architecture with the option of `key`; in a `chain` how many identities it has is uniform."""
    first, option = key
    forced = next(layer.names for layer in layers if layer.first == first)
    skips = {d.name: [o for o in d.options if o in SKIPS] for d in view.decisions.values() if chain and not d.several}
    may = [n for n, own in skips.items() if n not in forced and 0 < len(own) < len(view.decisions[n].options)]
    skipped = set(draws.sample(may, draws.randint(0, len(may))))

    def choose(d: Decision) -> Value:
        if d.name in forced:
            return option
        if d.name in may:
            return draws.choice([value for value in d.values if (value in SKIPS) is (d.name in skipped)])
        return draws.choice(d.values)

    return choose
