"""FreeNAS: prune a supernet at initialisation, without data, labels or training (Zhang et al. 2021, arXiv:2106.11542).

Only the abstract of the first version was readable. What is here follows it, the public code of its successor
FreeDARTS and the synaptic flow of Tanaka et al. 2020 which both cite: with absolute weights and an image of ones, the
saliency of an option is |alpha dR / dalpha|, R the summed output. One option is removed a pass (our reading). With
uniform alphas the largest kernels win nearly everywhere; FreeDARTS' random alphas make it a randomised method.
"""

import functools
import math
import operator
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import Chooser
from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.holes import Choice, key_of
from winnow.core.space import Space
from winnow.proxies.common import gradients, initialise, logits, working_copy
from winnow.proxies.once import Once
from winnow.proxies.synflow import absolute

Alive = dict[str, dict[str | int, float]]  # alpha of the options left, by decision


@dataclass(frozen=True)
class Removal:
    """One row of evidence: what left in which pass, or, in the last, what stayed (`kept`); flow is R."""

    event: int
    decision: str
    option: str | int
    score: float
    kept: bool
    flow: float
    seconds: float  # since the start


def freenas(
    space: Space,
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    random_alpha: bool = False,
    at_once: bool = False,
    load: Callable[[Architecture], float] | None = None,
    watch: Callable[[int], None] = lambda passes: None,
) -> tuple[Architecture, list[Removal]]:
    """What is left of `space` when the weakest options have gone, for images of `shape` (channels, height, width).

    First the single options of every decision, then what is too many in subsets (the inputs of DARTS nodes). Scores are
    taken relative to their cell type's sum, as types have different numbers of cells. Of equals the earliest in the
    order of decisions and options goes first; skip connections and average pools tie but for rounding. `at_once` scores
    each of the two rounds once. Weights, and with `random_alpha` |1e-3 N(0, 1)| for each option, are from `generator`;
    those of `space` stay as they are and do not matter.

    `load(arch)` says what share of its limits an architecture takes, 1 being all; an option stays if without it nothing
    within the limits were left. Refused where no architecture is, and where flow is not a positive number.
    """
    began, flow = time.perf_counter(), Flow(space, shape, generator)
    alive = _start(space, generator if random_alpha else None)
    fits = _within(space, load) if load is not None else lambda alive: True
    evidence: list[Removal] = []
    last: dict[str, dict[str | int, float]] = {}
    event, total = 0, math.nan

    def row(name: str, option: str | int, score: float, kept: bool) -> Removal:
        return Removal(event, name, option, score, kept, total, time.perf_counter() - began)

    for phase in _phases(space):
        while _open(phase, alive):
            total, last = flow(alive)
            watch(1)
            for _ in range(_excess(phase, alive) if at_once else 1):
                name, option = _weakest(phase, alive, last, fits)
                alive[name].pop(option)
                evidence.append(row(name, option, last[name][option], kept=False))
            event += 1
    evidence += [row(d, o, last[d][o], kept=True) for d, options in alive.items() for o in options]
    return space.decide(lambda d: _value(d, alive[d.name])), evidence


class Flow:
    """Synaptic flow of a space with open options: norms taken out, biases zero, weights from `generator`.

    Nothing is negative, so single precision loses nothing but range: R reaches 1e36. Image and the gradient of the
    output are scaled by a power of two that a first pass in double precision finds, and results scaled back.
    """

    def __init__(
        self, space: Space, shape: tuple[int, ...], generator: torch.Generator, dtype: torch.dtype = torch.float32
    ):
        other = next((hole for hole in space.holes if type(hole) is not Choice), None)
        if other is not None:
            raise Refused(
                f"FreeNAS prunes choices, and decision {other.decisions[0].name!r} is a {type(other).__name__}"
            )
        model = working_copy(space)
        initialise(model, lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=generator))
        self.weights: dict[str, dict[str | int, Tensor]] = {}
        root = nn.Sequential(absolute(model.model))  # the root may be a hole, too
        for parent in list(root.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, Choice):
                    setattr(parent, name, Weighted(child, self.weights))
                elif isinstance(child, nn.ReLU):
                    setattr(parent, name, nn.Identity())  # of what is positive
        self.model, self.dtype, self.scale = root.requires_grad_(False), dtype, 0.0
        self.ones = torch.ones(1, *shape, dtype=torch.float64, device=next(space.parameters()).device)

    def __call__(self, alive: Mapping[str, Mapping[str | int, float]]) -> tuple[float, dict[str, dict]]:
        """R and the saliency of each option alive."""
        keys = [(name, option) for name, options in alive.items() for option in options]
        alphas = torch.tensor([alive[n][o] for n, o in keys], dtype=torch.float64, device=self.ones.device)
        if not self.scale:
            with torch.no_grad():
                self.scale = 2.0 ** round(-math.log2(self._run(keys, alphas, self.ones)) / 2)
            self.model = self.model.to(self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        ones = (self.ones * self.scale).to(self.dtype, memory_format=torch.channels_last)
        alphas = alphas.to(self.dtype).requires_grad_()
        total = self._run(keys, alphas, ones)
        (slopes,) = gradients(total * self.scale, [alphas])
        found: dict[str, dict[str | int, float]] = {}
        scores = (alphas * slopes).detach().double().abs() / self.scale**2
        for (name, option), score in zip(keys, scores.tolist(), strict=True):
            found.setdefault(name, {})[option] = score
        return float(total.detach()) / self.scale, found

    def _run(self, keys: list[tuple[str, str | int]], alphas: Tensor, ones: Tensor) -> Tensor:
        self.weights.clear()
        for (name, option), leaf in zip(keys, alphas.unbind(), strict=True):
            self.weights.setdefault(name, {})[option] = leaf
        with Once():
            total = logits(self.model, ones).sum()
        if not bool(total.isfinite()) or not bool(total > 0):
            raise Refused(f"the flow through the space is {float(total.detach())}, not a positive number")
        return total


class Weighted(nn.Module):
    """A choice as the weighted sum of the options in `weights`, which its owner fills."""

    def __init__(self, choice: Choice, weights: dict[str, dict[str | int, Tensor]]):
        super().__init__()
        self.name, self.candidates, self.weights = choice.decision.name, choice.candidates, weights

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        weights = self.weights[self.name]
        terms = (w * self.candidates[key_of(option)](*inputs, **named) for option, w in weights.items())
        return functools.reduce(operator.add, terms)


def _start(space: Space, generator: torch.Generator | None) -> Alive:
    """Uniform alphas that sum to one, or small random ones; the members of subsets count 1 each."""

    def alphas(d: Decision) -> list[float]:
        if d.several:
            return [1.0] * len(d.options)
        if generator is None:
            return [1 / len(d.options)] * len(d.options)
        return (1e-3 * torch.randn(len(d.options), generator=generator, dtype=torch.float64)).abs().tolist()

    return {d.name: dict(zip(d.options, alphas(d), strict=True)) for d in space.decisions.values()}


def _phases(space: Space) -> list[list[Decision]]:
    every = list(space.decisions.values())
    return [[d for d in every if not d.several], [d for d in every if d.several]]


def _open(phase: list[Decision], alive: Alive) -> list[Decision]:
    return [d for d in phase if len(alive[d.name]) > d.pick]


def _excess(phase: list[Decision], alive: Alive) -> int:
    return sum(len(alive[d.name]) - d.pick for d in phase)


def _weakest(
    phase: list[Decision], alive: Alive, scores: Mapping[str, Mapping[str | int, float]], fits: Callable[[Alive], bool]
) -> tuple[str, str | int]:
    """The decision and option to remove; options that no architecture may have go before all others."""
    sums: dict[str, float] = {}
    for d in phase:
        sums[d.group] = sums.get(d.group, 0.0) + sum(scores[d.name][o] for o in alive[d.name])
    ranked = sorted(
        ((d, o) for d in _open(phase, alive) for o in alive[d.name]),
        key=lambda one: (one[1] not in one[0].mixture_only, scores[one[0].name][one[1]] / (sums[one[0].group] or 1.0)),
    )
    for d, option in ranked:
        if fits({**alive, d.name: {o: a for o, a in alive[d.name].items() if o != option}}):
            return d.name, option
    raise Refused("FreeNAS finds no architecture within the limits: loosen them")


def _within(space: Space, load: Callable[[Architecture], float]) -> Callable[[Alive], bool]:
    """Whether the cheapest architecture of the options alive is within the limits; options cost the same anywhere."""
    decisions = space.decisions.values()
    below = {(d.name, o): space.below(d, o) for d in decisions for o in d.options}
    under = {inner.name: (d, o) for d in decisions for o in d.options for inner in below[d.name, o]}
    cost: dict[tuple[str, str | int], float] = {}
    for d in decisions:
        if not d.several:
            loads = {o: load(space.decide(_reaching(under, d, o))) for o in d.values if not isinstance(o, tuple)}
            least = next(iter(loads.values()))
            cost.update({(d.name, o): value - least for o, value in loads.items()})

    def price(alive: Alive, d: Decision, option: str | int) -> float:
        inside = sum(min(price(alive, inner, o) for o in alive[inner.name]) for inner in below[d.name, option])
        return inside + (0.0 if d.several else cost.get((d.name, option), math.inf))

    def fits(alive: Alive) -> bool:
        def choose(d: Decision) -> Value:
            cheapest = sorted(alive[d.name], key=lambda o: price(alive, d, o))[: d.pick]
            return _value(d, dict.fromkeys(cheapest, 1.0))

        return load(space.decide(choose)) <= 1

    return fits


def _reaching(under: Mapping[str, tuple[Decision, str | int]], d: Decision, option: str | int) -> Chooser:
    """Answers `d` with `option`, what `d` nests in so that it is reached, and all others with their first value."""
    wanted = {d.name: option}
    while d.name in under:
        d, outer = under[d.name]
        wanted[d.name] = outer

    def choose(e: Decision) -> Value:
        if e.name not in wanted:
            return e.values[0]
        return next(v for v in e.values if wanted[e.name] in (v if isinstance(v, tuple) else (v,)))

    return choose


def _value(d: Decision, options: Mapping[str | int, float]) -> Value:
    kept = [option for option in d.options if option in options]
    return kept[0] if not d.several else tuple(kept)
