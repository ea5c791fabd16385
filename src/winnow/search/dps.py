"""DPS: the setting of Eproxy that orders a handful of benchmarked networks of the task (Li et al. 2022, 2210.09459).

Ageing evolution over discrete settings; fitness is Spearman's correlation on about twenty architectures with known
accuracies, to be kept apart from those that the proxy is then used or judged on.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.measure.rank import spearman
from winnow.proxies import targets
from winnow.proxies.aggregate import oriented_ranks
from winnow.proxies.common import Batch
from winnow.proxies.eproxy import INITS, Branch, Shape, losses, weighed
from winnow.proxies.size import macs

Fields = Mapping[str, tuple]
CHANNELS = (16, 32, 64, 128, 256, 512)
BRANCH: Fields = {
    "head_channels": CHANNELS,
    "target_channels": CHANNELS,
    "head_kernel": (1, 3, 7),
    "barrier_kernel": (1, 3, 7),
    "level": (0.5, 1.0, 1.5, 2.0),
}
WHOLE: Fields = {
    "lr": tuple(round(0.1 * i, 1) for i in range(5, 16)),
    "mac_factor": tuple(round(0.1 * i, 1) for i in range(-5, 6)),
    "init": tuple(INITS),
    "barrier_init": tuple(INITS),
}
PRESENT = 0.2  # the chance of each feature to be asked for at first


@dataclass(frozen=True)
class Tried:
    setting: Shape
    fitness: float


def dps(
    fitness: Callable[[Shape], float],
    rng: random.Random,
    *,
    most_macs: float,
    branch: Fields = BRANCH,
    whole: Fields = WHOLE,
    population: int = 40,
    tournament: int = 10,
    mutation: float = 0.2,
    evaluations: int = 200,
) -> list[Tried]:
    """Every setting tried, in order. `most_macs` is fixed for the space; `branch` and `whole` say what may be chosen.

    The first `population` are random. Then the best of `tournament` drawn from the last `population` has every field
    drawn anew, or feature flipped, with chance `mutation`. A fitness that is not a number counts as -1.
    """
    tried: list[Tried] = []

    def draw() -> Shape:
        branches = tuple(_branch(rng, branch) for _ in range(rng.randint(1, 3)))
        return Shape(branches, most_macs=most_macs, **{name: rng.choice(values) for name, values in whole.items()})

    def mutate(parent: Shape) -> Shape:
        count = rng.randint(1, 3) if rng.random() < mutation else len(parent.branches)
        branches = [_mutated(b, rng, branch, mutation) for b in parent.branches[:count]]
        branches += [_branch(rng, branch) for _ in range(count - len(branches))]
        return replace(parent, branches=tuple(branches), **_redrawn(rng, whole, mutation))

    while len(tried) < evaluations:
        living = tried[-population:]
        if len(tried) < population:
            setting = draw()
        else:
            setting = mutate(max(rng.sample(living, min(tournament, len(living))), key=lambda t: t.fitness).setting)
        value = fitness(setting)
        tried.append(Tried(setting, -1.0 if math.isnan(value) else value))
    return tried


def correlation(
    networks: Sequence[nn.Module], truth: Sequence[float], batch: Batch, seed: int
) -> Callable[[Shape], float]:
    """Fitness: Spearman's correlation of Eproxy's score with `truth`. What has no score ranks last.

    All settings and networks are asked for maps drawn once. Refused where there are fewer than three networks.
    """
    if len(networks) < 3 or len(networks) != len(truth):
        raise Refused(f"DPS takes three networks or more with one accuracy each, not {len(networks)} and {len(truth)}")
    x, costs = batch[0], [macs(network, batch) for network in networks]
    maps = targets.draw(targets.FEATURES, x, torch.Generator().manual_seed(seed))

    def fitness(setting: Shape) -> float:
        scores = []
        for network, cost in zip(networks, costs, strict=True):
            loss = losses(network, batch, torch.Generator().manual_seed(seed), setting, maps)[-1]
            scores.append(-weighed(loss, cost, setting))
        return spearman(oriented_ranks(scores), truth)

    return fitness


def _branch(rng: random.Random, fields: Fields) -> Branch:
    features = tuple(f for f in targets.FEATURES if rng.random() < PRESENT)
    return Branch(features=features, **{name: rng.choice(values) for name, values in fields.items()})


def _mutated(branch: Branch, rng: random.Random, fields: Fields, chance: float) -> Branch:
    flipped = tuple(f for f in targets.FEATURES if (f in branch.features) != (rng.random() < chance))
    return replace(branch, features=flipped, **_redrawn(rng, fields, chance))


def _redrawn(rng: random.Random, fields: Fields, chance: float) -> dict:
    return {name: rng.choice(values) for name, values in fields.items() if rng.random() < chance}
