import math
import random
from dataclasses import replace

import pytest
import torch

from winnow.core.errors import Refused
from winnow.proxies import targets
from winnow.proxies.eproxy import Shape
from winnow.proxies.size import macs
from winnow.search.dps import BRANCH, WHOLE, correlation, dps
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.train.seeds import generator, seeded


def toy(setting: Shape) -> float:
    """Best with a large step, no cost factor and dots everywhere."""
    if setting.init == "xavier_normal":
        return math.nan
    dots = sum("dot" in b.features for b in setting.branches) / len(setting.branches)
    return (setting.lr - abs(setting.mac_factor) + dots) / 2.5


def searched(seed: int, evaluations: int = 200):
    return dps(toy, random.Random(seed), most_macs=1.0, evaluations=evaluations)


def test_a_seed_is_a_history():
    assert searched(0, 60) == searched(0, 60)
    assert searched(0, 60) != searched(1, 60)
    assert searched(0)[:60] == searched(0, 60)


def test_evolution_betters_what_was_drawn():
    tried = searched(0)
    assert len(tried) == 200
    first, best = (max(t.fitness for t in some) for some in (tried[:40], tried))
    assert best > first
    assert best > 0.9
    assert min(t.fitness for t in tried) == -1.0  # not a number


def test_every_field_takes_its_values_and_no_others():
    tried = searched(3, 120)
    for name, values in WHOLE.items():
        assert {getattr(t.setting, name) for t in tried} <= set(values)
    for name, values in BRANCH.items():
        found = {getattr(b, name) for t in tried for b in t.setting.branches}
        assert found == set(values)
    assert {len(t.setting.branches) for t in tried} == {1, 2, 3}
    assert {f for t in tried for b in t.setting.branches for f in b.features} == set(targets.FEATURES)


def test_restricted_fields_stay_restricted():
    small = {**BRANCH, "head_channels": (16,), "target_channels": (16, 32)}
    tried = dps(toy, random.Random(0), most_macs=1.0, branch=small, evaluations=60)
    assert {b.head_channels for t in tried for b in t.setting.branches} == {16}


@pytest.fixture(scope="module")
def networks():
    with seeded(0):
        space = nas_bench_201(channels=4, cells=1, final=True)
    return [
        space.derive(space.decide(lambda d, o=o: o)) for o in ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")
    ]


def test_fitness_is_the_correlation_with_the_accuracies_given(networks):
    batch = torch.randn(4, 3, 8, 8, generator=generator(0, "images")), None
    fitness = correlation(networks, [1.0, 2.0, 3.0, 4.0], batch, 0)
    setting = Shape(branches=Shape().branches[:1], lr=0.0, most_macs=macs(networks[-1], batch))
    assert fitness(replace(setting, lr=0.5)) == fitness(replace(setting, lr=0.5))
    rewarded, punished = (fitness(replace(setting, mac_factor=a)) for a in (0.9, -0.9))
    assert rewarded == pytest.approx(1)  # without a step the cost orders them, and the dead one is always last
    assert punished < 0.3


def test_two_networks_are_too_few(networks):
    with pytest.raises(Refused, match="three networks or more"):
        correlation(networks[:2], [1.0, 2.0], (torch.zeros(2, 3, 8, 8), None), 0)
