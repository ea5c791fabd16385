"""NEAS: the three published networks, decoded, built and counted at 224 x 224 and 1000 classes."""

import pytest
import torch

from winnow.core.errors import Refused
from winnow.measure.cost import macs, params
from winnow.spaces.ensemble import ensemble, from_list, suffixes, to_list

PUBLISHED = {  # the authors' lists; millions: FLOPs as published (BatchNorm and pooling, too), MACs and parameters here
    "NEAS-S": ([20, 2, 0, 0, -1, 0, 2, 0, 0, 2, -1, 0, -1, 0, 3, 2, 4, 0, 2, 5, 0, 4, 3, 0, 0], 314, 301.50, 8.658),
    "NEAS-M": (
        [16, 2, 0, 3, 2, 0, 2, 5, 0, -1, 3, 0, 2, 0, 0, 3, 5, 4, 0, 5, 0, 5, 4, 0, 3, 5, 2, 5, 0],
        472,
        449.35,
        11.552,
    ),
    "NEAS-L": (
        [16, 2, 0, 5, 5, 1, 3, 5, 1, 3, 4, 1, 2, 5, 4, 1, 3, 3, 1, 3, 1, 5, 1, 0, 5, 4, 4, 3, 0],
        574,
        553.14,
        12.445,
    ),
}


@pytest.fixture(scope="module")
def space():
    with torch.device("meta"):
        return ensemble(final=True)


@pytest.mark.parametrize("name", PUBLISHED)
def test_released_networks_decode_and_cost_what_was_published(space, name):
    numbers, flops, counted, millions = PUBLISHED[name]
    arch = from_list(numbers)
    assert to_list(arch) == numbers
    child = space.derive(arch).eval()
    found = macs(child, (3, 224, 224)) / 1e6
    assert found == pytest.approx(counted, abs=0.005)
    assert found == pytest.approx(flops, rel=0.05)
    assert params(child) / 1e6 == pytest.approx(millions, abs=0.0006)


def test_members_of_the_medium_network_are_those_of_the_configuration(space):
    arch = from_list(PUBLISHED["NEAS-M"][0])
    assert suffixes(arch) == [("k7_e6", "k3_e4", "k7_e6", "k7_e4"), ("k5_e6", "k7_e6", "k5_e4", "k7_e6")]
    assert arch["layer7/shared"] == "skip"


def test_the_space_has_as_many_networks_as_its_layers_say(space):
    own = [6 if i % 4 == 0 else 7 for i in range(20)]
    expected = 0
    for at in (8, 12, 16, 20):
        shared = tail = 1
        for i, options in enumerate(own):
            shared, tail = (shared * options, tail) if i < at else (shared, tail * options**2)
        expected += shared * tail
    assert space.count() == expected


def test_a_network_costs_less_the_more_of_it_is_shared(space):
    costs = []
    for at in (8, 12, 16, 20):
        child = space.derive(space.decide(lambda d, at=at: at if d.name == "split" else "k5_e4")).eval()
        costs.append(macs(child, (3, 224, 224)))
    assert costs == sorted(costs, reverse=True)
    extra = 960 * 160 * 49 + 960 * 1280 + 1280 * 1000  # a head more
    with torch.device("meta"):
        alone = ensemble(members=1, final=True)
    one = macs(alone.derive(alone.decide(lambda d: "k5_e4")).eval(), (3, 224, 224))
    assert costs[-1] - one == extra


@pytest.mark.parametrize("numbers", [[], [20, 2, 0], [21, 2, *[0] * 24], [20, 2, *[6] * 23]])
def test_what_is_no_list_of_an_ensemble_is_refused(numbers):
    with pytest.raises(Refused, match="an ensemble of 20 layers is a list of the split"):
        from_list(numbers)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": [8, 8]}, "splits takes a list of different whole numbers from 0 to 20"),
        ({"splits": [21]}, "splits takes a list of different whole numbers from 0 to 20"),
        ({"members": 0}, "members takes a whole number of 1 or more"),
        ({"backbone": "resnet"}, "backbone takes neas or macro"),
        ({"image_size": 7}, "image_size takes 8 or more"),
        ({"width": 0}, "width takes a positive number"),
    ],
)
def test_what_cannot_be_built_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        ensemble(**options)
