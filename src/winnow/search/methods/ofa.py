"""Once-for-all: progressive shrinking of one elastic network (Cai et al. 2020, arXiv:1908.09791)."""

import itertools
import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.decision import Decision, Option
from winnow.core.errors import Refused
from winnow.core.options import Weight
from winnow.core.space import Space
from winnow.holes.sorting import check_sortable, sort_channels
from winnow.search.bench import Bench, Found
from winnow.search.recipe import Recipe
from winnow.search.several import backward, descent, largest, learning, train_children
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.loop import Step
from winnow.train.seeds import rng

FIRST = ("kernel", "depth")  # kinds of decisions in the published order; all others, the widths, come after these
FULL, LAST, BETWEEN = 180, 120, 25  # published epochs: the full network, the last phase of a kind, those before it
BASE = 2.6 / 32  # published learning rates for 64 images: the full network's, and of the phases, in the same order
RATES = {"full": BASE, "kernel": 3e-2, "between": 2.5e-3, "last": 7.5e-3}


@dataclass(frozen=True)
class Phase:
    """Epochs from `first` up to `end`, in which `children` networks a batch answer `live`, at a share `rate` of lr."""

    name: str
    first: int
    end: int
    live: Mapping[str, tuple[Option, ...]]
    children: int
    rate: float
    widths: bool = False


@strategy("children", watched=False, shared=True)
def ofa(bench: Bench, recipe: Recipe, *, kd: Weight = 1.0, sort: bool = True, judge: bool = True) -> Found:
    """Train the largest network; then open kernels, depths and widths, phase after phase, taught by it as it was.

    The phases share `recipe.epochs` as published (180 for the largest, 120 for kernels, 25 and 120 for each further
    depth and width), and so do their rates, all of the largest's lr: 3/8 for kernels, 1/33 and 1/11. Each is a new run:
    momentum begins at 0, and the rate falls batch by batch, as a cosine unless the recipe says otherwise. A batch
    trains one random network of the phase, two while depths open, four while widths do; their gradients add up. Each
    learns the answers and, times `kd`, what the largest says of the batch with statistics of the batch. Channels are
    sorted before each phase of widths (`sort`), within the widths that there are.

    A decision is of the kind that its name ends in ("unit1/block1/kernel"); what is neither kernel nor depth is a
    width; options come smallest first. Weights that no network of a batch holds rest, where the authors' are decayed.
    Their resolution changes from batch to batch, batches are 2048, momentum is Nesterov's, and labels are smoothed by
    0.1; here data, recipe and `objective` decide. With `judge`, corners of the phase are judged after every epoch:
    every kind at its smallest or its largest. Refused where there are fewer epochs than phases, and where a decision's
    options are no whole numbers, or channels are of layers that nobody can sort (attention's).
    """
    space, learn, draws = bench.space, learning(bench), rng(bench.seed, "paths")
    phases, top = plan(space, recipe.epochs), space.decide(largest)
    if sort and any(phase.widths for phase in phases):
        check_sortable(space)
    views = {phase.name: space.within(phase.live) for phase in phases}
    teacher = space.derive(top)
    optimiser = descent(space, recipe)
    bench.keeper.add(draws=draws, teacher=teacher)

    at = partial(phase_at, phases)

    def begin(epoch: int) -> None:
        phase = at(epoch)
        if epoch == 0 or epoch != phase.first:
            return
        if phase is phases[1]:
            teacher.load_state_dict(space.derive(top).state_dict())
        if phase.widths and sort:
            sort_channels(views[phases[phases.index(phase) - 1].name])
        for held in (each for state in optimiser.state.values() for each in state.values()):
            held.zero_()

    def lesson(epoch: int) -> Step:
        phase = at(epoch)

        def alone(batch: Batch) -> Tensor:
            return backward(learn(batch, top))

        def taught(batch: Batch) -> Tensor:
            with torch.no_grad(), batch_statistics(teacher.eval()):
                told = learn.first(batch[0], teacher)
            losses = []
            for _ in range(phase.children):
                said, loss = learn.first_and_loss(batch, views[phase.name].decide(uniform(draws)))
                losses.append(backward(loss + kd * bench.task.imitate(said, told)))
            total: Any = sum(losses)
            return total / len(losses)

        return alone if phase is phases[0] else taught

    def judged(epoch: int) -> dict[str, Architecture]:
        return corners(views[at(epoch).name]) if judge else {}

    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, partial(rate, phases, recipe, len(cast(Sized, bench.train)))
    )
    train_children(bench, recipe, lesson, judged, optimiser=optimiser, schedule=schedule, begin=begin)
    return Found(space)


def phase_at(phases: Sequence[Phase], epoch: int) -> Phase:
    return next(phase for phase in phases if epoch < phase.end)


def rate(phases: Sequence[Phase], recipe: Recipe, steps: int, step: int) -> float:
    """The share of the recipe's lr at a step, of which an epoch has `steps`: down to the end of each phase, anew."""
    phase = phase_at(phases, min(step // steps, recipe.epochs - 1))
    done = min((step / steps - phase.first) / (phase.end - phase.first), 1.0)
    low = min(recipe.lr_min / recipe.lr, phase.rate)
    left = 1 - done if recipe.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return low + (phase.rate - low) * left


def kind(name: str) -> str:
    """What is open in a decision: the last part of its name."""
    return name.rpartition("/")[2]


def plan(space: Space, epochs: int) -> list[Phase]:
    """The phases of `space` in `epochs` epochs, each with one at least. Refused where these are too few."""
    for d in space.decisions.values():
        if d.several or not all(isinstance(option, int) for option in d.options):
            raise Refused(
                f"progressive shrinking opens sizes, one whole number a decision, and {d.name!r} takes "
                f"{'several' if d.several else 'one'} of {d.options}: search this space with spos, fair or sandwich"
            )
    kinds = list(dict.fromkeys(kind(d.name) for d in space.decisions.values() if len(d.values) > 1))
    order = [*(k for k in FIRST if k in kinds), *(k for k in kinds if k not in FIRST)]
    stages: list[tuple[str, str, int, int]] = [("full", "", 0, FULL)]  # name, kind, options open, published epochs
    for each in order:
        most = max(len(d.values) for d in _of(space, each))
        if each == "kernel":
            stages.append((each, each, most, LAST))
        else:
            stages += [(f"{each} {n}", each, n, LAST if n == most else BETWEEN) for n in range(2, most + 1)]
    ends = _ends([share for *_, share in stages], epochs)
    phases, open_ = [], dict.fromkeys(order, 1)
    for (name, each, count, share), first, end in zip(stages, [0, *ends], ends, strict=False):
        if each:
            open_[each] = count
        live = {d.name: tuple(d.options[-open_.get(kind(d.name), 1) :]) for d in space.decisions.values()}
        key = name if name in RATES else "last" if share == LAST else "between"
        widths = bool(each) and each not in FIRST
        children = 4 if widths else 2 if each == "depth" else 1
        phases.append(Phase(name, first, end, live, children, RATES[key] / BASE, widths))
    return phases


def _of(space: Space, each: str) -> list[Decision]:
    return [d for d in space.decisions.values() if kind(d.name) == each]


def _ends(shares: Sequence[int], epochs: int) -> list[int]:
    """Where each phase ends: in proportion, and one epoch at least."""
    if epochs < len(shares):
        raise Refused(
            f"progressive shrinking has {len(shares)} phases here: epochs takes that many or more, not {epochs}"
        )
    ends: list[int] = []
    for i, done in enumerate(itertools.accumulate(shares)):
        wanted, left = round(epochs * done / sum(shares)), len(shares) - 1 - i
        ends.append(min(max(wanted, (ends[-1] if ends else 0) + 1), epochs - left))
    return ends


def corners(view: Space) -> dict[str, Architecture]:
    """The largest and the smallest network of a view, and those with every kind of decision at either end, by name."""
    kinds = list(dict.fromkeys(kind(name) for name in view.decisions))
    found = {}
    for ends in itertools.product((-1, 0), repeat=len(kinds)):
        at = dict(zip(kinds, ends, strict=True))
        words = [f"{k}_{'largest' if end else 'smallest'}" for k, end in at.items()]
        name = {1.0: "largest", 0.0: "smallest"}.get(-sum(ends) / len(kinds), "_".join(words))
        found[name] = view.decide(lambda d, at=at: d.values[at[kind(d.name)]])
    return found
