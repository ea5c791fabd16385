"""OFA: counts, parameters and multiply-accumulates of its MobileNetV3 space, made by the authors' own modules."""

import pytest
import torch
from torch import nn

from winnow.measure.cost import macs, params
from winnow.nn.blocks import SqueezeExcite
from winnow.spaces.ofa import AsPublished, ofa, to_eight

SIDE = (3, 224, 224)


@pytest.fixture(scope="module")
def spaces():
    with torch.device("meta"):
        return {width: ofa(width) for width in (1.0, 1.2)}


def child(space, kernel: int, ratio: int, depth: int) -> nn.Module:
    answers = {"kernel": kernel, "ratio": ratio, "depth": depth}
    return space.derive(space.decide(lambda d: answers[d.name.rpartition("/")[2]]))


def test_the_space_has_the_published_size(spaces):
    assert spaces[1.0].count() == 7371**5 == 21_758_655_492_572_485_851


@pytest.mark.parametrize(
    ("width", "self_", "millions", "parameters"),
    [
        (1.0, (7, 6, 4), 566.171, 7_664_760),
        (1.0, (3, 6, 4), 433.142, None),
        (1.0, (5, 4, 3), 250.747, 4_551_792),
        (1.0, (3, 3, 2), 121.279, 3_410_792),
        (1.2, (7, 6, 4), 843.101, 10_701_632),
        (1.2, (3, 3, 2), 193.078, 4_602_456),
    ],
)
def test_a_child_costs_what_the_authors_modules_cost(spaces, width, self_, millions, parameters):
    network = child(spaces[width], *self_)
    assert round(macs(network, SIDE) / 1e6, 3) == millions
    assert parameters in (None, params(network))


def test_smaller_images_cost_less_of_the_same_network(spaces):
    for self_, millions in (((7, 6, 4), 188.248), ((3, 3, 2), 41.476)):
        assert round(macs(child(spaces[1.0], *self_), (3, 128, 128)) / 1e6, 3) == millions


def test_the_elastic_network_is_the_largest_and_the_kernels_matrices(spaces):
    assert params(spaces[1.0]) == 7_678_880 == 7_664_760 + 20 * 706


def test_widths_are_multiples_of_eight_as_published():
    assert [to_eight(middle // 4) for middle in (120, 144, 336, 448)] == [32, 40, 88, 112]
    assert [to_eight(channels) for channels in (1, 11, 12, 19.2, 16 * 1.2, 960 * 1.2)] == [8, 16, 16, 24, 24, 1152]


def test_gates_and_activations_are_where_they_were_published(spaces):
    units = [module for module in spaces[1.0].model if hasattr(module, "chain")]
    gates = [{any(isinstance(m, SqueezeExcite) for m in block.modules()) for block in unit.chain} for unit in units]
    assert gates == [{False}, {True}, {False}, {True}, {True}]
    soft = [any(isinstance(m, nn.Hardswish) for m in unit.modules()) for unit in units]
    assert soft == [False, False, True, True, True]


def test_the_network_begins_as_the_authors_draw_it():
    network = AsPublished(nn.Conv2d(144, 144, 7, groups=144), nn.Linear(400, 10))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network.reset_parameters()
    assert network[0].weight.std().item() == pytest.approx(0.0168, rel=0.03)
    assert network[1].weight.abs().max().item() == pytest.approx(0.05, rel=0.01)
    assert not network[0].bias.any()
    assert not network[1].bias.any()


def test_the_image_is_halved_to_no_less_than_four():
    for size, expected in [(224, 7), (128, 4), (32, 4), (28, 7), (8, 4)]:
        with torch.device("meta"):
            network = child(ofa(0.25, depths=(1, 2), image_size=size), 3, 3, 1)
            features = network[:-7](torch.empty(1, 3, size, size))  # before pooling
        assert tuple(features.shape[2:]) == (expected, expected), size


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"depths": (0, 2)}, "depths takes a list of different whole numbers of 1 or more"),
        ({"ratios": (3, 3)}, "ratios takes a list of different"),
        ({"kernels": 3}, "kernels takes a list of different"),
        ({"kernels": (3, 4)}, "odd: not 4"),
        ({"width": 0}, "width takes a positive number"),
        ({"image_size": 4}, "image_size takes 8 or more"),
    ],
)
def test_what_cannot_be_built_is_refused_by_its_option(options, sentence):
    with pytest.raises(ValueError, match=sentence), torch.device("meta"):
        ofa(**options)
