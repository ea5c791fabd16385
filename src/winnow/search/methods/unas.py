"""UNAS: one unbiased gradient for losses and for black-box rewards (Vahdat et al. 2020, arXiv:1912.07651)."""

from collections.abc import Iterable
from typing import Unpack

import torch
from torch import Tensor

from winnow.core.space import Space
from winnow.search.estimators import Reward, Surrogate, answers, architecture, check_rewardable, checked, draw, estimate
from winnow.search.gradients import Objective, frozen
from winnow.search.mixture import Parts, Recipe, bilevel, keep
from winnow.search.paths import uniform_paths
from winnow.search.relax import Logits, check_temperature, softmax
from winnow.train.evaluate import Batch, batch_statistics
from winnow.train.seeds import generator, rng


def unas(
    space: Space,
    train: Iterable[Batch],
    valid: Iterable[Batch],
    *,
    epochs: int = 100,
    warmup: int = 15,
    temperature: float = 0.4,
    gap: float = 0.5,
    reward: Reward | None = None,
    reward_weight: float = 0.1,
    reward_samples: int = 100,
    **recipe: Unpack[Recipe],
) -> Logits:
    """Logits minimise the expected training loss + `gap` x |validation loss - training loss| - the expected reward.

    `reward` is any function of an architecture; its weight grows over the epochs after `warmup` to `reward_weight`,
    and its control variate is fitted on `reward_samples` random architectures first. One architecture is drawn for a
    whole batch (the authors' ImageNet mode). The weights step sees the relaxed draw of the logits step.

    What differs from the authors' code on purpose: the gap is that of batch means, theirs that of each pair of images,
    averaged (1.56 nats where ours was 0.43); weights go by SGD, theirs by Adam 3e-4; and which inputs a node keeps is
    no part of the draw, theirs owns two (input, operation) selectors a node. A reward would price edges that the
    architecture does not have, and others never: refused where the space has such decisions, and where it is no number.
    """
    check_temperature(temperature)
    if reward is not None:
        check_rewardable(space)
    draws = generator(recipe["seed"], "draws")
    logits = Logits(space, generator(recipe["seed"], "logits"), scale=0.0)
    surrogate = None if reward is None else _fitted(space, reward, reward_samples, recipe["seed"])
    relaxed: dict[str, Tensor] = {}
    keep(recipe, draws=draws, relaxed=relaxed)

    def parts(epoch: int) -> Parts:
        weight = reward_weight * min((epoch - warmup + 1) / max(epochs - warmup, 1), 1.0)

        def gradient(space, logits, relax, objective, train, valid, weights_optimiser) -> Tensor:
            drawn = draw(logits, temperature, draws)
            with frozen(space), batch_statistics(space):
                soft = generalisation(objective, train, valid, drawn.relaxed, gap)
                with torch.no_grad():
                    hard = generalisation(objective, train, valid, answers(space, drawn), gap)
            loss = estimate(drawn, hard, soft)
            if reward is not None:
                earned = checked(reward, architecture(space, drawn))
                loss = loss + estimate(drawn, -weight * earned, -weight * surrogate(drawn.relaxed))
            loss.backward()
            relaxed.update({name: weights.detach() for name, weights in drawn.relaxed.items()})
            return hard

        def attach(logits: Logits, batch: Batch):
            return relaxed if epoch >= warmup else draw(logits, temperature, draws).relaxed

        return Parts(gradient=gradient, attach=attach, learn_logits=epoch >= warmup, told=softmax)

    return bilevel(space, train, valid, epochs=epochs, parts=parts, logits=logits, **recipe)


def generalisation(objective: Objective, train: Batch, valid: Batch, setting, gap: float) -> Tensor:
    """The training loss and, `gap` times, how far the validation loss is from it."""
    trained = objective(train, setting)
    return trained + gap * (objective(valid, setting) - trained).abs() if gap else trained


def _fitted(space: Space, reward: Reward, samples: int, seed: int) -> Surrogate:
    path = uniform_paths(space, rng(seed, "surrogate"))
    architectures = [path() for _ in range(samples)]
    return Surrogate(space, architectures, [checked(reward, arch) for arch in architectures])
