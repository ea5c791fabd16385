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


def test_the_usual_search_is_of_two_hundred_settings_the_first_forty_drawn_and_the_space_is_the_published_one():
    tried = dps(lambda setting: 0.0, random.Random(0), most_macs=2.0)
    assert len(tried) == 200
    assert {t.setting.most_macs for t in tried} == {2.0}
    assert WHOLE["lr"] == pytest.approx([0.5 + 0.1 * i for i in range(11)])
    assert WHOLE["mac_factor"] == pytest.approx([-0.5 + 0.1 * i for i in range(11)])
    assert BRANCH["level"] == (0.5, 1, 1.5, 2)


def test_features_are_asked_for_with_a_chance_of_a_fifth_and_fields_evenly():
    tried = dps(lambda setting: 0.0, random.Random(0), most_macs=1.0, population=600, evaluations=600)
    branches = [b for t in tried for b in t.setting.branches]
    asked = sum(len(b.features) for b in branches) / (len(branches) * len(targets.FEATURES))
    assert asked == pytest.approx(0.2, abs=0.02)
    assert len(branches) / 600 == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_without_mutation_children_are_their_parents_and_with_all_of_it_every_feature_is_flipped(chance):
    tried = dps(toy, random.Random(0), most_macs=1.0, population=12, tournament=12, mutation=chance, evaluations=24)
    for place, child in enumerate(tried[12:], 12):
        parent = max(tried[place - 12 : place], key=lambda t: t.fitness).setting
        if not chance:
            assert child.setting == parent
        for one, other in zip(parent.branches, child.setting.branches, strict=False):
            both = set(one.features) ^ set(other.features)
            assert len(both) == chance * len(targets.FEATURES)


def test_a_tournament_of_one_is_a_draw_among_the_last_population():
    """Of twelve that are young and forty that are tried: none of the old ones is a parent."""
    tried = dps(toy, random.Random(1), most_macs=1.0, population=12, tournament=1, mutation=0.0, evaluations=60)
    settings = [t.setting for t in tried]
    for place in range(12, 60):
        assert settings[place] in settings[place - 12 : place]
    taken = [settings[place - 12 : place].index(settings[place]) for place in range(12, 60)]
    assert len(set(taken)) > 3
