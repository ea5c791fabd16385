"""SPOS with bits: the operations on bits that the paper prints, at 224 x 224 and 1000 classes."""

import pytest
import torch

from winnow.measure.cost import bitops, macs, params
from winnow.spaces.resnet import PAIRS, resnet

PRINTED = {18: (6.32, 14.22, 25.27), 34: (13.21, 29.72, 52.83)}  # of 2, 3 and 4 bits everywhere, in units of 2^30
MACS = {18: 1_695_547_392, 34: 3_545_235_456}  # of the convolutions that are quantised


@pytest.mark.parametrize("depth", [18, 34])
def test_uniform_bits_cost_what_was_published(depth):
    with torch.device("meta"):
        space = resnet(depth, bits=("w2a2", "w3a3", "w4a4"))
    for n, printed in zip((2, 3, 4), PRINTED[depth], strict=True):
        child = space.derive(space.decide(lambda d, n=n: f"w{n}a{n}"))
        assert bitops(child, (3, 224, 224)) == n * n * MACS[depth]
        assert bitops(child, (3, 224, 224)) / 2**30 == pytest.approx(printed, abs=0.01)


def test_in_floats_it_is_the_published_network():
    with torch.device("meta"):
        space = resnet(bits=("w32a32",))
    child = space.derive(space.decide(lambda d: "w32a32"))
    assert (params(child), macs(child, (3, 224, 224))) == (11_689_512, 1_814_073_344)  # as torchvision's resnet18


def test_bits_are_of_blocks_and_clips_are_all_that_they_add():
    with torch.device("meta"):
        space, wider = resnet(34), resnet(channels=(50, 100))
    assert space.count() == len(PAIRS) ** 16
    assert wider.count() == (len(PAIRS) * 2) ** 8
    child = space.derive(space.decide(lambda d: "w1a2"))
    convolutions = 2 * 16 + 3
    assert params(child) == 21_797_672 + convolutions  # torchvision's resnet34, and a clip each
