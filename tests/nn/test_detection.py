"""Detectors piece by piece: where a network is left, a pyramid by hand, what each place of the output says."""

import math

import pytest
import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.measure.cost import macs, params
from winnow.nn.detection import (
    BOX,
    CENTRE,
    POINT,
    SCORES,
    STRIDE,
    Detector,
    Features,
    Head,
    Pyramid,
    centres,
    features_of,
    handmade,
    plain,
)
from winnow.proxies.sizes import sizes_of


def conv(c_in: int, c_out: int, stride=1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2)


class Own(nn.Sequential):
    """May do anything with its modules."""


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


# ---- features


def test_a_chain_is_left_at_its_taps_in_their_order():
    features = Features(nn.Sequential(Times(2), Times(3), Times(5), Times(7)), [0, 2], [4, 6], [2, 8])
    assert [each.item() for each in features(torch.tensor(1.0))] == [2, 30]
    assert (features.taps, features.channels, features.strides) == ((0, 2), (4, 6), (2, 8))


CHAIN = (  # channels at stride 1, 2, 4, 8, 16 are 3, 5, 7, 9 and 11; the last module of a stride counts
    *(conv(2, 3), conv(3, 4, 2), conv(4, 5)),
    nn.Sequential(conv(5, 6, 2), nn.Sequential(conv(6, 7), nn.ReLU())),
    *(conv(7, 9, 2), conv(9, 11, 2)),
)


@pytest.mark.parametrize(
    ("more", "taps", "channels", "strides", "length"),
    [
        ({}, (5, 6, 7), (7, 9, 11), (4, 8, 16), 8),
        ({"strides": [8, 2]}, (2, 6), (5, 9), (2, 8), 7),
        ({"strides": [1]}, (0,), (3,), (1,), 1),
        ({"end": 5}, (2, 5, 6), (5, 7, 9), (2, 4, 8), 7),
        ({"end": -1, "strides": [4]}, (5,), (7,), (4,), 6),
        ({"end": 2}, (0, 1), (3, 4), (1, 2), 2),
    ],
)
def test_a_network_is_left_at_the_last_module_of_each_stride(more, taps, channels, strides, length):
    network = nn.Sequential(*CHAIN)
    features = features_of(network, (2, 32, 48), **more)
    assert (features.taps, features.channels, features.strides) == (taps, channels, strides)
    assert len(features.chain) == length
    assert features.chain[0] is network[0]
    found = features(torch.zeros(1, 2, 32, 48))
    assert [tuple(each.shape) for each in found] == [
        (1, c, 32 // stride, 48 // stride) for c, stride in zip(channels, strides, strict=True)
    ]


def test_a_sequential_of_ones_own_is_one_module():
    inner = Own(conv(2, 3, 2), conv(3, 4, 2))
    features = features_of(nn.Sequential(inner, conv(4, 5, 2)), (2, 16, 16))
    assert features.chain[0] is inner
    assert (features.taps, features.channels, features.strides) == ((0, 1), (4, 5), (4, 8))
    whole = Own(conv(2, 3, 2), nn.Sequential(conv(3, 4, 2), conv(4, 5, 2)))
    features = features_of(whole, (2, 16, 16))
    assert type(features.chain) is Own
    assert (features.taps, features.channels, features.strides) == ((0, 1), (3, 5), (2, 8))


@pytest.mark.parametrize(
    ("sizes", "stride"),
    [
        ((15, 13, 8, 7), 2),  # rounded up
        ((15, 13, 7, 6), 2),  # rounded down
        ((15, 12, 7, 6), 2),
        ((15, 12, 8, 6), 2),
        ((15, 13, 15, 13), 1),
        ((15, 13, 4, 4), 4),
        ((15, 13, 3, 3), 4),
        ((48, 40, 6, 5), 8),
        ((15, 13, 8, 8), None),
        ((15, 13, 5, 4), None),
        ((16, 16, 8, 16), None),
        ((16, 16, 16, 8), None),
        ((16, 16, 8, 4), None),
    ],
)
def test_a_map_counts_where_both_sides_are_smaller_by_one_power_of_two(sizes, stride):
    height, width, *smaller = sizes
    network = nn.Sequential(nn.AdaptiveAvgPool2d(smaller), conv(1, 2))
    if stride is None:
        with pytest.raises(Refused, match=f"no map at any stride for images of {height} x {width}: there are none"):
            features_of(network, (1, height, width))
    else:
        features = features_of(network, (1, height, width))
        assert (features.strides, features.channels, features.taps) == ((stride,), (2,), (1,))


@pytest.mark.parametrize(
    "last",
    [
        *(nn.Flatten(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((1, 4)), conv(16, 4, 64)),
        nn.Unflatten(1, (2, 8)),  # two volumes of 8 x 8 x 8 are no maps of 8 x 8
    ],
)
def test_what_comes_after_the_last_map_is_never_called(last):
    called = []
    after = Times(1)
    after.register_forward_hook(lambda *_: called.append(1))
    features = features_of(nn.Sequential(conv(3, 16, 2), last, after, conv(4, 4, 4)), (3, 16, 16))
    assert (features.strides, len(features.chain)) == ((2,), 1)
    assert not called


@pytest.mark.parametrize(
    ("strides", "said"),
    [
        ([2, 32], "no map at stride 32 for images of 32 x 48: there are 1, 2, 4, 8, 16$"),
        ([64, 32, 1], "no map at stride 32 for images"),
        ([3], "no map at stride 3 "),
        ([], "no map at any stride for images of 32 x 48: there are 1, 2, 4, 8, 16$"),
    ],
)
def test_a_stride_that_is_not_there_is_refused_by_its_number(strides, said):
    with pytest.raises(Refused, match=said):
        features_of(nn.Sequential(*CHAIN), (2, 32, 48), strides)


def test_looking_for_maps_is_in_evaluation_without_gradients_and_leaves_modes():
    seen = []

    class Looks(nn.Module):
        def forward(self, x):
            seen.append((self.training, torch.is_grad_enabled(), tuple(x.shape), x.any().item()))
            return x

    class Fails(nn.Module):
        def forward(self, x):
            raise RuntimeError("no")

    network = nn.Sequential(Looks(), nn.Sequential(Looks().eval(), conv(2, 2, 2)))
    features_of(network, (2, 8, 8))
    assert seen == [(False, False, (2, 2, 8, 8), False)] * 2
    assert [m.training for m in network.modules()] == [True, True, True, False, True]
    broken = nn.Sequential(Looks(), Fails())
    with pytest.raises(RuntimeError, match="no"):
        features_of(broken, (2, 8, 8))
    assert all(module.training for module in broken.modules())


# ---- pyramid


@torch.no_grad()
def passing(pyramid: Pyramid, *factors: float) -> Pyramid:
    """Laterals of one channel that multiply by these, and kernels that pass what lies at their centre."""
    for lateral, factor in zip(pyramid.laterals, factors, strict=True):
        lateral.weight.fill_(factor)
        lateral.bias.zero_()
    for smooth in pyramid.smooth:
        smooth.weight.zero_()[:, :, 1, 1] = 1
        smooth.bias.zero_()
    return pyramid


def test_each_level_adds_what_is_coarser_by_the_nearest_pixel():
    maps = [torch.zeros(1, 1, 3, 4), torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[[[5.0]]]])]
    maps[0][0, 0, 0, 0] = 7
    with torch.no_grad():
        fine, middle, coarse = passing(Pyramid([1, 1, 1], 1), 1.0, 10.0, 100.0)(maps)
    assert coarse[0, 0].tolist() == [[500]]
    assert middle[0, 0].tolist() == [[510, 520], [530, 540]]
    assert fine[0, 0].tolist() == [[517, 510, 520, 520], [510, 510, 520, 520], [530, 530, 540, 540]]


def test_a_pyramid_has_a_lateral_and_a_kernel_of_nine_a_level():
    neck = Pyramid([3, 5], 4)
    assert params(neck) == (3 + 5) * 4 + 2 * 4 + 2 * (9 * 4 * 4 + 4)
    shapes = [(m.kernel_size, m.stride, m.padding) for m in neck.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [((1, 1), (1, 1), (0, 0))] * 2 + [((3, 3), (1, 1), (1, 1))] * 2


# ---- head


def told(head: Head) -> Head:
    """Whatever it sees: sides of 1, 2, 4 and 8 strides, a centre-ness of 5, and class logits of -1 and 7."""
    with torch.no_grad():
        for layer, values in (
            (head.sides, torch.tensor([1.0, 2.0, 4.0, 8.0]).log()),
            (head.centre, torch.tensor([5.0])),
            (head.classes, torch.tensor([-1.0, 7.0])),
        ):
            layer.weight.zero_()
            layer.bias.copy_(values)
    return head


def test_each_place_says_its_box_point_stride_centre_and_classes_level_after_level():
    maps = [torch.randn(2, 3, 2, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 1, 2)]
    head = told(Head(3, 2, (4, 10)))
    with torch.no_grad():
        head.scales.copy_(torch.tensor([1.0, 2.0]))  # of logarithms: the second level squares its sides
    found = head(maps).detach()
    assert found.shape == (2, 2 * 3 + 2, 8 + 2)
    points = [[2, 2], [6, 2], [10, 2], [2, 6], [6, 6], [10, 6], [5, 5], [15, 5]]
    strides = [4] * 6 + [10] * 2
    boxes = [[x - 4, y - 8, x + 16, y + 32] for x, y in points[:6]]
    boxes += [[x - 10, y - 40, x + 160, y + 640] for x, y in points[6:]]
    for row in found:
        assert row[:, POINT].tolist() == points
        assert row[:, STRIDE].tolist() == strides
        torch.testing.assert_close(row[:, BOX], torch.tensor(boxes).float())
        assert row[:, CENTRE].tolist() == [5] * 8
        assert row[:, SCORES:].tolist() == [[-1, 7]] * 8
    torch.testing.assert_close(found[0, 0, :8], torch.tensor([-2.0, -6.0, 18.0, 34.0, 2.0, 2.0, 4.0, 5.0]))


def test_classes_come_of_one_branch_and_boxes_and_centres_of_the_other():
    torch.manual_seed(0)
    head = Head(4, 3, (8,))
    for part, branch, other in (
        (slice(SCORES, None), head.classify, head.locate),
        (BOX, head.locate, head.classify),
        (slice(CENTRE, CENTRE + 1), head.locate, head.classify),
    ):
        head.zero_grad()
        head([torch.randn(1, 4, 3, 3)])[..., part].square().sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in branch.parameters())
        assert all(p.grad is None or not p.grad.any() for p in other.parameters())


def test_sides_end_at_e_to_the_eighth_strides():
    head = told(Head(3, 2, (4,)))
    with torch.no_grad():
        head.sides.bias.copy_(torch.tensor([7.9, 8.1, 80.0, -3.0]))
    left, top, right, bottom = head([torch.zeros(1, 3, 1, 1)])[0, 0, BOX].tolist()
    assert (2 - left) / 4 == pytest.approx(math.exp(7.9), rel=1e-5)
    assert (2 - top) / 4 == pytest.approx(math.exp(8), rel=1e-5)
    assert (right - 2) / 4 == pytest.approx(math.exp(8), rel=1e-5)
    assert (bottom - 2) / 4 == pytest.approx(math.exp(-3), rel=1e-5)


@pytest.mark.parametrize(("width", "groups"), [(3, 1), (4, 4), (8, 8), (12, 4), (16, 8), (18, 2)])
def test_a_branch_has_convolutions_of_nine_with_groups_of_eight_where_they_fit(width, groups):
    head = Head(width, 5, (4, 8, 16))
    for branch in (head.classify, head.locate):
        assert [type(layer) for layer in branch] == [nn.Conv2d, nn.GroupNorm, nn.ReLU] * 2
        assert {layer.num_groups for layer in branch if isinstance(layer, nn.GroupNorm)} == {groups}
    tower = 9 * width * width + 2 * width
    rest = (9 * width + 1) * (5 + 4 + 1) + 3
    assert params(head) == 2 * 2 * tower + rest
    assert params(Head(width, 5, (4, 8, 16), depth=3)) == 2 * 3 * tower + rest
    levels = [torch.zeros(1, width, side, side + 1) for side in (4, 2)]
    assert head(levels).shape == (1, 4 * 5 + 2 * 3, 13)


def test_a_head_begins_as_published_and_again_when_it_is_reset():
    torch.manual_seed(0)
    head = Head(16, 4, (4, 8))
    for _ in range(2):
        weights = torch.cat([m.weight.detach().flatten() for m in head.modules() if isinstance(m, nn.Conv2d)])
        assert weights.std().item() == pytest.approx(0.01, rel=0.05)
        assert abs(weights.mean().item()) < 0.001
        assert head.classes.bias.sigmoid().tolist() == pytest.approx([0.01] * 4)
        assert head.sides.bias.tolist() == pytest.approx([math.log(2)] * 4)
        assert head.centre.bias.tolist() == [0]
        assert head.scales.tolist() == [1, 1]
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.fill_(3.0)
        head.reset_parameters()


@pytest.mark.parametrize(
    ("size", "stride", "points"),
    [
        ((1, 3), 2, [[1, 1], [3, 1], [5, 1]]),
        ((3, 1), 2, [[1, 1], [1, 3], [1, 5]]),
        ((2, 2), 5, [[2.5, 2.5], [7.5, 2.5], [2.5, 7.5], [7.5, 7.5]]),
        ((1, 2), 1, [[0.5, 0.5], [1.5, 0.5]]),
    ],
)
def test_centres_lie_in_the_middle_of_their_places(size, stride, points):
    assert centres(*size, stride).tolist() == points


# ---- networks made by hand


def test_a_detector_is_its_three_parts_one_after_another():
    assert Detector(Times(2), Times(3), Times(5))(torch.tensor(1.0)) == 30


@pytest.mark.parametrize("depth", [1, 3])
def test_the_backbone_halves_five_times_at_the_first_convolution_of_a_stage(depth):
    stages = plain(2, 4, depth)
    convs = [[m for m in stage if isinstance(m, nn.Conv2d)] for stage in stages]
    assert [[(m.in_channels, m.out_channels) for m in each] for each in convs] == [
        [(before, after), *[(after, after)] * (depth - 1)]
        for before, after in ((2, 4), (4, 8), (8, 16), (16, 32), (32, 32))
    ]
    assert [[m.stride for m in each] for each in convs] == [[(2, 2), *[(1, 1)] * (depth - 1)]] * 5
    assert {m.kernel_size for each in convs for m in each} == {(3, 3)}
    assert [[type(m) for m in stage] for stage in stages] == [[nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * depth] * 5
    assert stages(torch.zeros(2, 2, 64, 32)).shape == (2, 32, 2, 1)


def test_it_is_of_sixteen_channels_from_colour_images_and_one_convolution_a_stage():
    pairs = ((3, 16), (16, 32), (32, 64), (64, 128), (128, 128))
    assert params(plain()) == sum(9 * a * b + 2 * b for a, b in pairs)


def test_the_detector_made_by_hand_has_three_levels_and_its_counted_size():
    detector = handmade()
    assert detector.head.strides == detector.features.strides == (4, 8, 16)
    assert detector.features.channels == (32, 64, 128)
    pairs = ((3, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128))
    backbone = sum(9 * a * b + 2 * b for a, b in pairs)
    neck = (32 + 64 + 128) * 32 + 3 * 32 + 3 * (9 * 32 * 32 + 32)
    head = 4 * (9 * 32 * 32 + 64) + (9 * 32 + 1) * (3 + 4 + 1) + 3
    assert params(detector) == backbone + neck + head
    with torch.no_grad():
        assert detector.eval()(torch.zeros(1, 3, 64, 32)).shape == (1, 16 * 8 + 8 * 4 + 4 * 2, 8 + 3)
        assert handmade(2, 1, 32, 64).eval()(torch.zeros(1, 1, 32, 64)).shape == (1, 8 * 16 + 4 * 8 + 2 * 4, 8 + 2)
    with pytest.raises(Refused, match="no map at stride 16 for images of 128 x 16: there are 2, 4, 8"):
        handmade(image_width=16)
    with pytest.raises(Refused, match="no map at stride 16 for images of 16 x 128: there are 2, 4, 8"):
        handmade(image_height=16)


def test_what_detectors_cost_is_known_without_building_each(monkeypatch):
    def detector() -> Space:
        stages = [
            nn.Sequential(conv(2, 4, 2), Choice("a", {"3": conv(4, 4), "5": conv(4, 4, kernel=5)})),
            conv(4, 6, 2),
        ]
        features = Features(nn.Sequential(*stages), (0, 1), (4, 6), (2, 4))
        return Space(Detector(features, Pyramid((4, 6), 4), Head(4, 2, (2, 4))))

    space = detector()
    archs = [space.decide(lambda d, side=side: side) for side in ("3", "5")]
    counted = [macs(space.derive(arch), (2, 8, 8)) for arch in archs]
    known = sizes_of(space, (2, 8, 8))
    monkeypatch.setattr(Space, "derive", None)
    assert [known(arch)["macs"] for arch in archs] == counted
    assert counted[1] - counted[0] == (25 - 9) * 4 * 4 * 16


def test_the_head_is_called_for_every_level():
    head, maps = Head(4, 2, (4, 8)), [torch.zeros(1, 4, 3, 3), torch.zeros(1, 4, 2, 1)]
    neck = nn.Identity()
    neck.forward = lambda x: maps
    assert macs(Detector(nn.Identity(), neck, head), (1, 2, 2)) == (9 + 2) * 9 * (4 * 4 * 4 + 4 * (2 + 4 + 1))
