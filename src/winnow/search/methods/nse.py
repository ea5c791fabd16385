"""NSE: the search space evolves, a small subset of operations a cell at a time (Ci et al. 2021, arXiv:2011.10904)."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import torch
from annotated_types import MaxLen, MinLen
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Positive, Rate, Several, Weight
from winnow.core.space import Space
from winnow.data.loaders import Cursor
from winnow.search.bench import Bench, Found
from winnow.search.codes import chances_of, expected_cost, pairs_of, setting_of
from winnow.search.evolving import Cells, Judged, Round, best_of, evolves, rounds_of, sampled, selectable, summed
from winnow.search.extremes import cheapest
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.search.several import backward, on_one_curve, train_children
from winnow.search.strategy import strategy
from winnow.train.evaluate import Batch, batch_statistics, measured
from winnow.train.loop import Step
from winnow.train.optimisers import Adam, fused
from winnow.train.seeds import derived, generator, rng, seeded
from winnow.train.watch import Watch

MOST, EVERY = 5, 2  # published: active operations a cell; weight steps for one of the fire parameters
DRIFT, BELOW = 0.16, 1 / 30  # of the target: half of the band around it, and how far spare networks lie below the band
ROWS = 4  # batches that tell how good a network is, where a bench has no rows to judge by
Ends = Annotated[list[Rate], MinLen(2), MaxLen(2)]
Counts = Annotated[list[Positive], MinLen(1)]
SHORT = {"spaces": None, "rounds": [1], "warmup": 0, "samples": 4, "extra": 0}


@strategy("children shortlist", watched=False, short=SHORT)
def nse(
    bench: Bench,
    recipe: Recipe,
    *,
    keep: Several | None = None,
    spaces: Counts | None = None,
    rounds: Counts | None = None,
    warmup: NotNegative = 0,
    fire_lr: Rate = 0.005,
    target: Rate | None = None,
    strength: Weight = 0.9,
    band: Ends | None = None,
    samples: Positive = 2000,
    extra: NotNegative = 100,
) -> Found:
    """Rounds of fresh weights: train `keep` active options a cell, judge networks of them, keep what the best ones use.

    A batch trains one network in which each active option is on with one half, whatever is learnt of it. Every second
    step a batch that is held out trains the fire parameters, at `fire_lr`: each cell takes one code and the gradient
    of two. Given a `target` in MACs, `strength` x (expected MACs / target - 1)^2 is added. What hardly fires is dropped
    at once. A round ends with `samples` networks by their chances, judged with statistics of their own on split arch,
    beside the front of the round before; options that the new front of accuracy and MACs uses stay, and random new ones
    fill up. Networks lie in the `band` [low, high] of MACs, 16 % around the target unless given; `extra` ones a little
    cheaper help to find the front. Leaves the last front as shortlist, and the space of what it uses.

    `keep` is 5, or half of the options where there are fewer than 10. Of n options there are (n - 1) // (keep - 1)
    rounds, which share the epochs; each has a rate that rises for `warmup` epochs and then falls as a cosine. `spaces`
    chains spaces: the first so many options of every decision, then so many more, `rounds` says how many rounds each.
    Published: 100 epochs a round of batches of 1,024, lr 0.4 after 2 epochs, Nesterov's momentum, no clipping; 300
    million MACs with strength 1e-5 of squared millions, 0.9 here.

    A reconstruction of the authors' code, with its slips mended: all weights begin anew, the old front is judged in
    every round and wins ties, and a cell that needs an operation keeps two while it is trained. Held-out batches are
    augmented as all are. Where a decision takes an exact number of options, these do not evolve and are drawn
    uniformly. Where a cell takes one option, codes have one on. Refused where no decision has more options than `keep`,
    and where even the cheapest network is above the band.
    """
    logits = Logits(bench.space, generator(bench.seed, "fire"), scale=0.0, subsets=True)
    sizes = [len(selectable(d)) for d in bench.space.decisions.values() if evolves(d)]
    most = max(sizes, default=0)
    kept = min(MOST, max(most // 2, 2)) if keep is None else keep
    if most <= kept:
        raise Refused(
            f"no decision has more than {most} options, which is too small to shrink to {kept} at a time: lower "
            "search.nse.keep (2 or more), or search the whole space with spos"
        )
    cells = Cells(bench.space, kept)
    plan = rounds_of(sizes, kept, spaces, rounds, recipe.epochs)
    if warmup >= plan[0].epochs:
        raise Refused(f"a round has {plan[0].epochs} epochs, of which search.nse.warmup takes fewer, not {warmup}")
    if band is None:
        band = [0.0, math.inf] if target is None else [target * (1 - DRIFT), target * (1 + DRIFT)]
    search = Search(bench, recipe, cells, logits, band, target, strength, fire_lr, warmup, samples, extra)
    return search.run(plan)


class Later(Watch):
    """Tells another watch of epochs, the first of which is number `first`."""

    def __init__(self, watch: Watch, first: int):
        self.watch, self.first = watch, first

    def step(self, steps: int = 1) -> None:
        self.watch.step(steps)

    def epoch(self, epoch: int, metrics: Mapping[str, float], weights: Any = None) -> bool | None:
        return self.watch.epoch(self.first + epoch, metrics, weights)

    def state(self) -> dict[str, Any]:
        return self.watch.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        self.watch.restore(state)


class Front:
    """The networks that the last round ended with, by cost."""

    def __init__(self) -> None:
        self.networks: list[Judged] = []

    def state(self) -> list[list[Any]]:
        return [[dict(each.architecture), each.cost, each.score] for each in self.networks]

    def restore(self, state: Sequence[Sequence[Any]]) -> None:
        self.networks = [Judged(Architecture.of(arch), cost, score) for arch, cost, score in state]


@dataclass
class Search:
    """What all rounds share."""

    bench: Bench
    recipe: Recipe
    cells: Cells
    logits: Logits
    band: Sequence[float]
    target: float | None
    strength: float
    fire_lr: float
    warmup: int
    samples: int
    extra: int
    front: Front = field(default_factory=Front)

    def __post_init__(self) -> None:
        bench = self.bench
        self.logits.to(next(bench.space.parameters()).device)
        self.theta = {name: self.logits[name] for name in self.cells.whole}
        self.draws = rng(bench.seed, "paths")
        self.cost = summed(bench.space, lambda arch: bench.sizes(arch)["macs"])
        self.score = _judge(bench)
        self.held = Cursor(bench.valid)

    def run(self, plan: Sequence[Round]) -> Found:
        bench, cells = self.bench, self.cells
        self._check_band()
        self._begin(0, plan)
        kept = {"cells": cells, "front": self.front, "theta": self.logits, "draws": self.draws, "held": self.held}
        # nobody else keeps these while networks are judged: what is told, and how far the orders of batches are drawn
        kept |= {"watch": bench.watch, "order": Cursor(bench.train)}
        for part in bench.keeper.rounds(2 * len(plan), "part", space=bench.space, **kept):
            number, judging = divmod(part, 2)
            if not judging:
                self._train(number, plan)
                continue
            self._judge(number, len(plan))
            if number + 1 < len(plan):
                self._begin(number + 1, plan)
            else:
                cells.settle()
        best = sorted(self.front.networks, key=lambda each: -each.score)
        view = cells.view()
        metrics = {"front": len(best), "architectures_log10": math.log10(view.count())}
        return Found(view, metrics=metrics, shortlist=tuple(each.architecture for each in best))

    def _check_band(self) -> None:
        """Refused where no network is as cheap as that: some cell would be left without an operation that it needs."""
        if self.band[1] < math.inf:
            least = self.cost(cheapest(self.bench.space, self.cost))
            if least >= self.band[1]:
                raise Refused(
                    f"networks below {self.band[1]:,.0f} MACs are asked for, and the cheapest of this space has "
                    f"{least:,.0f}: a cell that needs an operation would have none; raise search.nse.target (or band), "
                    "or narrow the network"
                )

    def _begin(self, number: int, plan: Sequence[Round]) -> None:
        """The operations of a round: those inherited, and new ones."""
        now = plan[number]
        if number == 0 or plan[number - 1].number != now.number:
            self.cells.line_up(now.first, now.end, rng(self.bench.seed, "queue", now.number))
        self.cells.refill()

    def _train(self, number: int, plan: Sequence[Round]) -> None:
        bench, now = self.bench, plan[number]
        recipe = replace(self.recipe, epochs=now.epochs)
        fire = Adam(self.logits.parameters(), self.fire_lr, betas=(0.0, 0.999), fused=fused(self.logits.parameters()))
        taken = {"steps": 0, "dropped": 0}

        def begin(epoch: int) -> None:
            if epoch == 0 and number:
                initialise(bench.space, derived(bench.seed, "initialise", number))
                for vector in self.logits.values():
                    vector.data.zero_()

        def step(batch: Batch) -> Tensor:
            return backward(bench.objective(batch, self.cells.view().decide(uniform(self.draws))))

        def stepped() -> None:
            if taken["steps"] % EVERY == 0:
                self._fire(fire)
                taken["dropped"] += self.cells.prune(self.theta)
            taken["steps"] += 1

        told = Later(bench.watch, sum(each.epochs for each in plan[:number]))
        curve = on_one_curve(bench, recipe, warmup=self.warmup)
        kept = {"of_theta": fire, "taken": taken}
        lesson: Callable[[int], Step] = lambda epoch: step  # noqa: E731
        course = {"begin": begin, "stepped": stepped, "kept": kept, **curve}
        train_children(replace(bench, watch=told), recipe, lesson, lambda epoch: {}, **course)
        if taken["dropped"]:
            bench.say(f"  round {number + 1} of {len(plan)} dropped {taken['dropped']} options that hardly fired")

    def _fire(self, optimiser: torch.optim.Optimizer) -> None:
        """A step of the fire parameters."""
        bench, view = self.bench, self.cells.view()
        pairs = pairs_of(view, self.theta, self.draws)
        setting, first = setting_of(view, pairs, self.draws)
        batch = self.held.next()
        if not pairs:
            return
        with batch_statistics(bench.space):
            loss = bench.objective(batch, setting)
        if self.target is not None:
            expected = expected_cost(view, first, pairs, self.cost)
            loss = loss + self.strength * (expected / self.target - 1) ** 2
        vectors = [self.theta[name] for name in pairs]
        for vector, gradient in zip(vectors, torch.autograd.grad(loss, vectors, allow_unused=True), strict=True):
            vector.grad = gradient
        optimiser.step()
        optimiser.zero_grad()

    def _judge(self, number: int, rounds: int) -> None:
        """The new front, of networks of this round and of the front before, and what it uses."""
        view, (low, high) = self.cells.view(), self.band
        chances, draws = chances_of(view, self.theta), rng(self.bench.seed, "samples", number)
        fresh = sampled(view, chances, draws, self.samples, low, high, self.cost)
        below = low - BELOW * (low if self.target is None else self.target)
        spare = sampled(view, chances, draws, self.extra, below, low, self.cost) if self.extra and low else []
        old = [each.architecture for each in self.front.networks]
        every = dict.fromkeys([*old, *fresh, *spare])
        if not every:
            raise Refused(
                f"no network of round {number + 1} lies between {low:,.0f} and {high:,.0f} MACs: widen search.nse.band"
            )
        scores: dict[str, float] = {}
        with self.bench.keeper.piece(scores=scores):
            for arch in every:
                if arch.digest not in scores:
                    self.bench.keeper.due()
                    scores[arch.digest] = self.score(arch)
        found = [Judged(arch, self.cost(arch), scores[arch.digest], arch in set(spare)) for arch in every]
        self.front.networks = best_of(found)
        self.cells.inherit(each.architecture for each in self.front.networks)
        self._tell(number, rounds, len(found))

    def _tell(self, number: int, rounds: int, judged: int) -> None:
        best, task = self.front.networks, self.bench.task
        ends = sorted(task.first.sign * each.score for each in best)
        stay = sum(map(len, self.cells.inherited.values()))
        self.bench.say(
            f"  round {number + 1} of {rounds}: {judged} networks judged, {len(best)} on the front, {task.metric} "
            f"{ends[0]:.2f} to {ends[-1]:.2f}, {best[0].cost / 1e6:.2f} to {best[-1].cost / 1e6:.2f} million MACs; "
            f"{stay} options stay"
        )


def _judge(bench: Bench) -> Callable[[Architecture], float]:
    """How good a network is: as the bench judges children, or by some held-out batches and their own statistics."""
    if bench.judged is not None:
        return bench.score
    rows = list(itertools.islice(bench.valid, ROWS))

    def score(arch: Architecture) -> float:
        bench.space.eval()
        with batch_statistics(bench.space):
            return bench.task.score(measured(bench.task, lambda x: bench.space(x, arch), rows))

    return score


def initialise(space: Space, seed: int) -> None:
    """Fresh weights everywhere: inner modules first, as where an outer one draws for all of them it counts."""
    modules: list[nn.Module] = list(space.modules())
    with seeded(seed):
        for module in reversed(modules):
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
