"""NAS-Bench-Macro: parameters and multiply-accumulates of rows of the published table, at 32 x 32 and ten classes."""

import random

import pytest
import torch

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.measure.cost import macs, params
from winnow.spaces.macro import from_string, macro, to_string

ROWS = {  # of nas-bench-macro_cifar10.json: params, flops
    "00000000": (387_882, 7_713_280),
    "10000000": (396_298, 12_128_768),
    "01000000": (415_082, 14_447_104),
    "00100000": (419_050, 12_018_176),
    "00010000": (491_434, 14_225_920),
    "20000000": (409_834, 17_854_976),
    "02000000": (448_298, 22_753_792),
    "00002000": (607_018, 21_524_992),
    "00000011": (1_195_306, 20_517_376),
    "11111111": (1_588_874, 53_246_464),
    "22222222": (2_932_586, 105_660_928),
    "22212202": (1_985_514, 85_164_544),
}


@pytest.fixture(scope="module")
def space():
    with torch.device("meta"):
        return macro()


@pytest.mark.parametrize("text", ROWS)
def test_rows_cost_what_was_published(space, text):
    child = space.derive(from_string(text))
    assert (params(child), macs(child, (3, 32, 32))) == ROWS[text]


def test_the_space_has_the_published_size_and_its_notation(space):
    assert space.count() == 6561
    arch = space.decide(uniform(random.Random(0)))
    assert from_string(to_string(arch)) == arch


@pytest.mark.parametrize("text", ["2221220", "22212203", "222122020"])
def test_what_is_no_row_is_refused(text):
    with pytest.raises(Refused, match="eight digits of 0, 1 and 2, not"):
        from_string(text)
