"""UNAS: one unbiased gradient for losses and for black-box rewards (Vahdat et al. 2020, arXiv:1912.07651)."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Setting
from winnow.core.options import NotNegative, Rate, Several, Share, Weight
from winnow.core.space import Space
from winnow.measure.latency import latency_ms as measured_ms
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.estimators import (
    Draw,
    Reward,
    Surrogate,
    answers,
    architecture,
    check_rewardable,
    checked,
    draw,
    estimate,
)
from winnow.search.gradients import frozen
from winnow.search.mixture import Parts
from winnow.search.objective import Learning
from winnow.search.paths import uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, Relax, check_temperature, softmax
from winnow.search.strategy import Run, strategy
from winnow.spaces.factorised import twins
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.seeds import generator, rng


def other_network(run: Run, *, latency_ms: Rate | None = None) -> str | None:
    if latency_ms is not None and run.space == "darts":
        return (
            "latency_ms: unas draws operations and not which two inputs a node of darts keeps, so that a latency would "
            "be that of another network; take space factorised, whose inputs it draws, set latency_ms to null, or "
            "search with strategy trials"
        )
    return None


@strategy("logits mixture children distribution", objection=other_network, short={"warmup": 0, "latency_ms": None})
def unas(
    bench: Bench,
    recipe: Recipe,
    *,
    warmup: NotNegative | None = None,
    draws: Literal["example", "batch"] = "example",
    temperature: Rate = 0.4,
    softening: Weight = 0.0,
    gap: Weight = 0.5,
    twice: Weight = 0.2,
    logits_fall: Share = 0.3,
    latency_ms: Rate | None = None,
    reward_weight: Weight = 0.1,
    reward_samples: Several = 100,
) -> Found:
    """Logits minimise the expected training loss + `gap` x |validation loss - training loss| - an expected reward.

    Weights train alone for `warmup` epochs; None: 15 of 100, as published. `draws` is "example", an architecture for
    each row of a batch, or "batch", one for all (published for ImageNet, with a `softening` of 0.08). `twice` is the
    price of a node that takes one (input, operation) pair twice, in space factorised. The rate of the logits falls to
    `logits_fall` of it. The reward is minus the milliseconds that a child takes above `latency_ms` on this machine;
    None: there is none. See `unbiased`.
    """
    reward, enough = (None, math.inf) if latency_ms is None else (_latency(bench), -latency_ms)
    begin = (15 * recipe.epochs + 50) // 100 if warmup is None else warmup
    rewarded: dict[str, Any] = {"enough": enough, "weight": reward_weight, "samples": reward_samples}
    drawing: dict[str, Any] = {"draws": draws, "temperature": temperature, "softening": softening}
    prices: dict[str, Any] = {"gap": gap, "twice": twice, "logits_fall": logits_fall}
    return unbiased(bench, recipe, reward, warmup=begin, **drawing, **prices, **rewarded)


def unbiased(
    bench: Bench,
    recipe: Recipe,
    reward: Reward | None,
    *,
    warmup: int,
    draws: str = "example",
    temperature: float = 0.4,
    softening: float = 0.0,
    gap: float = 0.5,
    twice: float = 0.2,
    logits_fall: float = 0.3,
    enough: float = math.inf,
    weight: float = 0.1,
    samples: int = 100,
) -> Found:
    """`unas` with any function of an architecture as `reward`, of which more than `enough` counts no more.

    What it counts for grows over the epochs after `warmup` to `weight`; each step asks for it of a draw of its own. Its
    control variate is a sum over options, fitted first on four fifths of `samples` random architectures; the mean
    error on the others is reported. The weights step sees the relaxed draws of the logits step.

    Which inputs a node keeps is drawn where it is a choice, as in space factorised. Where it is a subset, as in darts,
    all stay while searching, and a reward is refused: it would be of another network.
    """
    space, epochs = bench.space, recipe.epochs
    check_temperature(temperature)
    if reward is not None:
        check_rewardable(space)
    own = draws == "example"
    noise = generator(bench.seed, "draws")
    logits = Logits(space, generator(bench.seed, "logits"), scale=0.0)
    surrogate, error = (None, {}) if reward is None else _fitted(space, reward, samples, bench.seed)
    pairs = twins(space) if twice else []
    relaxed: dict[str, Tensor] = {}  # by the logits step, for the weights step that follows it
    bench.keeper.add(draws=noise)

    def drawn(logits: Mapping[str, Tensor], rows: int | None) -> Draw:
        return draw(logits, temperature, noise, rows, softening)

    def parts(epoch: int) -> Parts:
        counts = weight * min((epoch - warmup + 1) / max(epochs - warmup, 1), 1.0)

        def gradient(
            space: Space,
            logits: Logits,
            relax: Relax,
            objective: Any,  # a `Learning`: what the bench of this strategy has
            train: Batch,
            valid: Batch,
            weights_optimiser: torch.optim.Optimizer,
        ) -> Tensor:
            now = drawn(logits, len(train[1]) if own else None)
            with frozen(space), batch_statistics(space):
                soft = generalisation(objective, train, valid, now.relaxed, gap)
                with torch.no_grad():
                    chosen = now.hot if own else answers(space, now)
                    hard = generalisation(objective, train, valid, chosen, gap)
            spent, expected = (twice * doubled(pairs, weights) for weights in (now.hot, now.relaxed))
            loss = estimate(now, hard + spent, soft + expected)
            if reward is not None and surrogate is not None:
                fresh = drawn(logits, None)
                earned = min(checked(reward, architecture(space, fresh)), enough)
                loss = loss + estimate(fresh, -counts * earned, -counts * surrogate(fresh.relaxed).clamp(max=enough))
            loss.backward()
            relaxed.update({name: weights.detach() for name, weights in now.relaxed.items()})
            return hard.mean()

        def attach(logits: Logits, batch: Batch) -> Setting:
            return relaxed if epoch >= warmup else drawn(logits, len(batch[1]) if own else None).relaxed

        return Parts(gradient=gradient, attach=attach, learn_logits=epoch >= warmup, told=softmax)

    found = bilevel(bench, recipe, parts=parts, logits=logits, logits_fall=logits_fall)
    return replace(found, metrics=error)


def generalisation(objective: Learning, train: Batch, valid: Batch, setting: Setting, gap: float) -> Tensor:
    """(batch,): the training loss of each row and, `gap` times, how far the loss of its validation row is from it.

    The i-th row of `train` has the i-th of `valid`, which begins again where it is shorter, and the same architecture.
    """
    trained = objective.each(train, setting)
    if not gap:
        return trained
    (x, y), rows = valid, len(train[1])
    if len(y) != rows:
        again = torch.arange(rows, device=y.device) % len(y)
        x, y = x[again], y[again]
    return trained + gap * (objective.each((x, y), setting) - trained).abs()


def doubled(pairs: list[tuple[str, str]], weights: Mapping[str, Tensor]) -> Tensor | float:
    """() or (examples,): over nodes, how much of the same (input, operation) pair `weights` take twice."""

    def shared(one: str, other: str, what: str) -> Tensor:
        return (weights[f"{one}/{what}"] * weights[f"{other}/{what}"]).sum(0)

    return sum((shared(*pair, "input") * shared(*pair, "op") for pair in pairs), 0.0)


def _fitted(space: Space, reward: Reward, samples: int, seed: int) -> tuple[Surrogate, dict[str, float]]:
    """The control variate of `reward`, and its mean error on architectures that it was not fitted to."""
    path = uniform_paths(space, rng(seed, "surrogate"))
    architectures = [path() for _ in range(samples)]
    values = [checked(reward, arch) for arch in architectures]
    fit = max(1, 4 * samples // 5)
    surrogate = Surrogate(space, architectures[:fit], values[:fit])
    errors = [abs(surrogate.of(arch) - value) for arch, value in zip(architectures[fit:], values[fit:], strict=True)]
    return surrogate, {"surrogate_error": sum(errors) / len(errors)}


def _latency(bench: Bench) -> Reward:
    """Minus the milliseconds that a child takes, for one example on the device of the search."""
    if bench.space.example is None:
        raise Refused("unas: latency_ms needs a space that was built for some input, whose shape it knows")
    example, device = bench.space.example, next(bench.space.parameters()).device
    known: dict[str, float] = {}

    def reward(arch: Architecture) -> float:
        if arch.digest not in known:
            child = bench.space.derive(arch)
            known[arch.digest] = -measured_ms(child, example, device=device, warmup=2, repeats=11).median
        return known[arch.digest]

    return reward
