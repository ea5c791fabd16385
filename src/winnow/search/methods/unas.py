"""UNAS: one unbiased gradient for losses and for black-box rewards (Vahdat et al. 2020, arXiv:1912.07651)."""

import torch
from torch import Tensor

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.options import NotNegative, Rate, Several, Weight
from winnow.core.space import Space
from winnow.measure.latency import latency_ms as measured_ms
from winnow.search.bench import Bench, Found
from winnow.search.bilevel import bilevel
from winnow.search.estimators import Reward, Surrogate, answers, architecture, check_rewardable, checked, draw, estimate
from winnow.search.gradients import Objective, frozen
from winnow.search.mixture import Parts
from winnow.search.paths import uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, check_temperature, softmax
from winnow.search.strategy import Run, strategy
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.seeds import generator, rng


def other_network(run: Run, *, latency_ms: Rate | None = None) -> str | None:
    if latency_ms is not None and run.space == "darts":
        return (
            "latency_ms: unas draws operations and not which two inputs a node of darts keeps, so that a latency would "
            "be that of another network; set it to null, or search with strategy trials"
        )
    return None


@strategy("logits mixture children distribution", objection=other_network, short={"warmup": 0, "latency_ms": None})
def unas(
    bench: Bench,
    recipe: Recipe,
    *,
    warmup: NotNegative | None = None,
    temperature: Rate = 0.4,
    gap: Weight = 0.5,
    latency_ms: Rate | None = None,
    reward_weight: Weight = 0.1,
    reward_samples: Several = 100,
) -> Found:
    """Logits minimise the expected training loss + `gap` x |validation loss - training loss| - an expected reward.

    The reward is minus the milliseconds that a child takes above `latency_ms` on this machine; None: there is none.
    Weights train alone for `warmup` epochs; None: 15 of 100, as published. See `unbiased`.
    """
    reward = None if latency_ms is None else _latency(bench, latency_ms)
    begin = (15 * recipe.epochs + 50) // 100 if warmup is None else warmup
    rewarded = {"weight": reward_weight, "samples": reward_samples}
    return unbiased(bench, recipe, reward, warmup=begin, temperature=temperature, gap=gap, **rewarded)


def unbiased(
    bench: Bench,
    recipe: Recipe,
    reward: Reward | None,
    *,
    warmup: int,
    temperature: float = 0.4,
    gap: float = 0.5,
    weight: float = 0.1,
    samples: int = 100,
) -> Found:
    """`unas` with any function of an architecture as `reward`.

    What it counts for grows over the epochs after `warmup` to `weight`, and its control variate is fitted on `samples`
    random architectures first. One architecture is drawn for a whole batch (the authors' ImageNet mode). The weights
    step sees the relaxed draw of the logits step.

    What differs from the authors' code on purpose: the gap is that of batch means, theirs that of each pair of images,
    averaged (1.56 nats where ours was 0.43); weights go by SGD, theirs by Adam 3e-4; and which inputs a node keeps is
    no part of the draw, theirs owns two (input, operation) selectors a node. A reward would price edges that the
    architecture does not have, and others never: refused where the space has such decisions, and where it is no number.
    """
    space, epochs = bench.space, recipe.epochs
    check_temperature(temperature)
    if reward is not None:
        check_rewardable(space)
    draws = generator(bench.seed, "draws")
    logits = Logits(space, generator(bench.seed, "logits"), scale=0.0)
    surrogate = None if reward is None else _fitted(space, reward, samples, bench.seed)
    relaxed: dict[str, Tensor] = {}
    bench.keeper.add(draws=draws, relaxed=relaxed)

    def parts(epoch: int) -> Parts:
        counts = weight * min((epoch - warmup + 1) / max(epochs - warmup, 1), 1.0)

        def gradient(space, logits, relax, objective, train, valid, weights_optimiser) -> Tensor:
            drawn = draw(logits, temperature, draws)
            with frozen(space), batch_statistics(space):
                soft = generalisation(objective, train, valid, drawn.relaxed, gap)
                with torch.no_grad():
                    hard = generalisation(objective, train, valid, answers(space, drawn), gap)
            loss = estimate(drawn, hard, soft)
            if reward is not None:
                earned = checked(reward, architecture(space, drawn))
                loss = loss + estimate(drawn, -counts * earned, -counts * surrogate(drawn.relaxed))
            loss.backward()
            relaxed.update({name: weights.detach() for name, weights in drawn.relaxed.items()})
            return hard

        def attach(logits: Logits, batch: Batch):
            return relaxed if epoch >= warmup else draw(logits, temperature, draws).relaxed

        return Parts(gradient=gradient, attach=attach, learn_logits=epoch >= warmup, told=softmax)

    return bilevel(bench, recipe, parts=parts, logits=logits)


def generalisation(objective: Objective, train: Batch, valid: Batch, setting, gap: float) -> Tensor:
    """The training loss and, `gap` times, how far the validation loss is from it."""
    trained = objective(train, setting)
    return trained + gap * (objective(valid, setting) - trained).abs() if gap else trained


def _fitted(space: Space, reward: Reward, samples: int, seed: int) -> Surrogate:
    path = uniform_paths(space, rng(seed, "surrogate"))
    architectures = [path() for _ in range(samples)]
    return Surrogate(space, architectures, [checked(reward, arch) for arch in architectures])


def _latency(bench: Bench, target: float) -> Reward:
    """Minus the milliseconds that a child takes above `target`, for one example on the device of the search."""
    if bench.space.example is None:
        raise Refused("unas: latency_ms needs a space that was built for some input, whose shape it knows")
    example, device = bench.space.example, next(bench.space.parameters()).device
    known: dict[str, float] = {}

    def reward(arch: Architecture) -> float:
        if arch.digest not in known:
            child = bench.space.derive(arch)
            known[arch.digest] = measured_ms(child, example, device=device, warmup=2, repeats=11).median
        return -max(0.0, known[arch.digest] - target)

    return reward
