"""SPOS: multiply-accumulates of the published paths at 224 x 224 and 1000 classes."""

import random
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.measure.cost import macs, params
from winnow.proxies.sizes import sizes_of
from winnow.search.additive import tabulated
from winnow.search.paths import binned_paths, uniform_paths
from winnow.spaces.mobile import KERNELS, mobile
from winnow.train.seeds import seeded

CHOICES = tuple(KERNELS)  # published choices 0 to 3
RELEASED = "2 1 0 1 2 0 2 0 2 0 2 3 0 0 0 0 3 2 3 3"


@pytest.fixture(scope="module")
def space():
    with torch.device("meta"):
        return mobile(final=True)


def path(space, numbers: list[int]) -> torch.nn.Module:
    return space.derive({f"block/{i}": CHOICES[number] for i, number in enumerate(numbers)})


@pytest.mark.parametrize(("choice", "millions"), [(0, 295.84), (1, 313.65), (2, 340.37), (3, 358.83)])
def test_one_choice_everywhere_costs_what_was_published(space, choice, millions):
    assert macs(path(space, [choice] * 20), (3, 224, 224)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_released_path_costs_what_was_published(space):
    child = path(space, [int(number) for number in RELEASED.split()])
    assert macs(child, (3, 224, 224)) / 1e6 == pytest.approx(322.92, abs=0.005)
    assert 3.5e6 <= params(child) < 3.6e6  # published with one decimal


def test_every_path_lies_between_the_extremes(space):
    rng = random.Random(0)
    for _ in range(3):
        child = space.derive(space.decide(uniform(rng)))
        assert 295.84e6 < macs(child, (3, 224, 224)) < 358.83e6


def test_the_cheapest_and_the_dearest_path_are_those_of_the_space(space):
    """x is cheaper than 0 where a block halves its map, and dearer than 2 elsewhere."""
    halving = (0, 4, 8, 16)
    for ends, millions in [((3, 0), 270.36), ((2, 3), 398.61)]:
        child = path(space, [ends[i not in halving] for i in range(20)])
        assert macs(child, (3, 224, 224)) / 1e6 == pytest.approx(millions, abs=0.005)


WIDTHS = tuple(range(20, 161, 20))
SEARCHED = "0 0 3 1 1 1 0 0 2 0 2 1 1 0 2 0 2 1 3 2"  # blocks and channels, as released
SCALES = "6 5 3 5 2 6 3 4 2 5 7 5 4 6 7 4 4 5 4 3"  # 0 is the narrowest


@pytest.fixture(scope="module")
def wide():
    with torch.device("meta"):
        return mobile(final=True, channels=WIDTHS)


def widths(space, blocks: list[int], scales: list[int]):
    chosen = {f"block/{i}": CHOICES[number] for i, number in enumerate(blocks)}
    chosen |= {f"block/{i}/channels": WIDTHS[number] for i, number in enumerate(scales)}
    return space.decide(lambda d: chosen[d.name])


def test_channels_cost_what_the_authors_networks_do(wide):
    assert wide.count() == 32**20
    networks = [
        ([0] * 20, [0] * 20, 101_887_168, None),
        ([3] * 20, [7] * 20, 625_824_960, None),
        ([int(n) for n in SEARCHED.split()], [int(n) for n in SCALES.split()], 327_857_920, 3_432_579),
    ]
    for blocks, scales, counted, size in networks:
        child = wide.derive(widths(wide, blocks, scales))
        assert macs(child, (3, 224, 224)) == counted
        assert size in (None, params(child))


def test_a_width_of_a_hundred_percent_is_the_plain_space(space, wide):
    blocks = [int(number) for number in RELEASED.split()]
    narrow = wide.derive(widths(wide, blocks, [WIDTHS.index(100)] * 20))
    shapes = [tuple(p.shape) for p in path(space, blocks).parameters()]
    assert [tuple(p.shape) for p in narrow.parameters()] == shapes


def test_the_space_has_the_published_size(space):
    assert space.count() == 4**20 == 1_099_511_627_776


def test_the_image_is_halved_to_no_less_than_four(space):
    with torch.device("meta"):
        spaces = {size: mobile(width=0.25, image_size=size) for size in (8, 28, 32)}
    for size, expected in [(224, 7), (32, 4), (28, 7), (8, 4)]:
        child = path(spaces.get(size, space), [0] * 20)
        features = child[:-5](torch.empty(1, 3, size, size, device="meta"))  # before pooling
        assert tuple(features.shape[2:]) == (expected, expected), size


def test_batch_norms_are_affine_in_the_final_network_only(space):
    with torch.device("meta"):
        search = mobile()
    for net, affine in ((search, False), (space, True)):
        norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert {norm.affine for norm in norms} == {affine}
        assert [m.p for m in net.modules() if isinstance(m, torch.nn.Dropout)] == [0.1]


def test_balanced_paths_fill_bins_evenly_where_uniform_ones_crowd_the_middle(space):
    sizes, low, high = sizes_of(space, (3, 224, 224)), 290e6, 360e6
    cost = tabulated(space, lambda arch: sizes(arch)["macs"], random.Random(0))
    drawn = [space.decide(uniform(random.Random(i))) for i in range(3)]
    assert [cost(arch) for arch in drawn] == [sizes(arch)["macs"] for arch in drawn]

    def shares(path, count: int) -> list[int]:
        """Of so many paths those in each of seven bins of 10 M."""
        counts = Counter(int((cost(path()) - low) // 10e6) for _ in range(count))
        return [counts[i] for i in range(7)]

    balanced = shares(binned_paths(space, random.Random(0), cost, low, high, 7), 70)
    assert sum(balanced) == 70
    assert chisquare(balanced).pvalue > 0.001
    plain = shares(uniform_paths(space, random.Random(0)), 210)
    expected = [0.0109, 0.0644, 0.1950, 0.3181, 0.2716, 0.1145, 0.0227]  # an exact count over all 4^20
    assert plain == pytest.approx([210 * share for share in expected], abs=25)
    assert chisquare(plain).pvalue < 1e-9


def test_costs_that_no_path_has_are_refused(space):
    with pytest.raises(Refused, match=r"none of 1,000 lies between 1 and 2; of random ones here most cost \d"):
        binned_paths(space, random.Random(0), lambda arch: float(len(arch)), 1, 2, 7)


def test_the_published_start_is_that_of_the_authors(space):
    with seeded(0):
        whole = mobile(width=0.5, start="published", final=True, classes=10, image_size=32)
    child = whole.derive(whole.decide(lambda d: "shuffle_5"))
    convs = [m for m in child.modules() if isinstance(m, torch.nn.Conv2d)]
    for conv in convs:
        deviation = 0.01 if conv is convs[0] else 1 / conv.weight.shape[1]
        assert conv.weight.std().item() == pytest.approx(deviation, rel=0.25)
    assert child[-1].weight.std().item() == pytest.approx(0.01, rel=0.1)
    biases = torch.cat([m.bias for m in child.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    assert torch.equal(biases, torch.full_like(biases, 1e-4))
    with pytest.raises(ValueError, match="start takes torch or published, not 'best'"):
        mobile(start="best")


def test_blocks_of_one_candidate_leave_the_widths_open():
    """The paper's search of channels on choice_3: the same networks, counted alike, and 8^20 of them."""
    with torch.device("meta"):
        alone, all_four = (mobile(final=True, channels=WIDTHS, **each) for each in ({"candidates": ["shuffle_3"]}, {}))
    assert alone.count() == len(WIDTHS) ** 20
    arch = alone.decide(lambda d: 140 if len(d.values) > 1 else d.values[0])
    assert macs(alone.derive(arch), (3, 224, 224)) == macs(all_four.derive(arch), (3, 224, 224))
    assert {arch[f"block/{i}"] for i in range(20)} == {"shuffle_3"}


@pytest.mark.parametrize("wrong", [[], ["shuffle_9"], ["shuffle_3", "shuffle_3"]])
def test_candidates_are_some_of_the_four(wrong):
    with pytest.raises(ValueError, match=r"candidates takes some of shuffle_3, .*, xception, each once, not"):
        mobile(0.1, 8, 10, candidates=wrong)
