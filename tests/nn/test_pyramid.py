"""The six information paths on pyramids small enough to follow by hand, and the neck of the paper counted."""

import pytest
import torch
import torch.nn.functional as F

from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.measure.cost import params
from winnow.nn.deformable import Deformable
from winnow.nn.pyramid import PATHS, Neck, Nothing, Skip, halved, packed, paths, resized, unpacked
from winnow.proxies.sizes import sizes_of

EVEN, ODD = [(16, 16), (8, 8), (4, 4), (2, 2)], [(50, 50), (25, 25), (13, 13), (7, 7)]
TINY = [(5, 3), (3, 2), (2, 1), (1, 1)]
BACKBONE = (256, 512, 1024, 2048)
RELEASED = (  # edge by edge: (1, 0), (2, 0), (2, 1), (3, 0), ...
    *("top_down", "top_down", "top_down", "fusing_splitting", "none", "skip_connect"),
    *("bottom_up", "skip_connect", "none", "top_down"),
    *("bottom_up", "none", "fusing_splitting", "scale_equalising", "bottom_up"),
)


def constant(value=1.0, sizes=EVEN, channels=2):
    return packed([torch.full((1, channels, *size), value) for size in sizes])


def random(sizes, channels=2, batch=2):
    torch.manual_seed(0)
    return packed([torch.randn(batch, channels, *size) for size in sizes])


@torch.no_grad()
def centred(path, weight=1.0):
    """Kernels that pass each channel on: their centres are identities, next to each other where they take two."""
    for conv in [m for m in path.modules() if isinstance(m, torch.nn.Conv2d) and m.out_channels != 18]:
        conv.weight.zero_()
        conv.weight[:, :, 1, 1] = weight * torch.eye(conv.out_channels).repeat(1, conv.in_channels // conv.out_channels)
    return path


@pytest.mark.parametrize("deformable", [False, True])
@pytest.mark.parametrize(
    ("name", "weight", "want"),
    [
        ("top_down", 1.0, [4, 3, 2, 1]),
        ("bottom_up", 1.0, [1, 2, 3, 4]),
        ("fusing_splitting", 0.5, [2, 2, 2, 2]),
        ("scale_equalising", 1.0, [2, 3, 3, 2]),
        ("skip_connect", 1.0, [1, 1, 1, 1]),
        ("none", 1.0, [0, 0, 0, 0]),
    ],
)
def test_constant_pyramids_come_out_as_published(name, weight, want, deformable):
    x, sizes = constant(0.5)
    found = unpacked(centred(paths(2, deformable)[name], weight)(x, sizes), sizes)
    for level, value in zip(found, want, strict=True):
        torch.testing.assert_close(level, torch.full_like(level, 0.5 * value))


@pytest.mark.parametrize("sizes", [EVEN, ODD, TINY])
@pytest.mark.parametrize("name", PATHS)
def test_a_path_keeps_every_shape_and_changes_nothing_in_place(name, sizes):
    for deformable in (False, True):
        x, sizes = random(sizes)
        before = x.clone()
        found = paths(2, deformable)[name](x, sizes)
        assert found.shape == x.shape
        assert torch.isfinite(found).all()
        assert torch.equal(x, before)


def depends(path, level):
    """Which levels of the result change with one level of the input."""
    x, sizes = random(EVEN)
    levels = unpacked(x, sizes)
    other = packed([each + (i == level) * torch.randn_like(each) for i, each in enumerate(levels)])[0]
    pairs = zip(unpacked(path(x, sizes), sizes), unpacked(path(other, sizes), sizes), strict=True)
    return [i for i, (a, b) in enumerate(pairs) if not torch.equal(a, b)]


def test_paths_are_causal_as_they_say():
    made = paths(2, deformable=False)
    assert [depends(made["top_down"], i) for i in range(4)] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert [depends(made["bottom_up"], i) for i in range(4)] == [[0, 1, 2, 3], [1, 2, 3], [2, 3], [3]]
    assert [depends(made["fusing_splitting"], i) for i in range(4)] == [[0, 1, 2, 3]] * 4
    for conv in made["scale_equalising"].modules():  # no ReLU may hide a change
        if isinstance(conv, torch.nn.Conv2d):
            torch.nn.init.constant_(conv.bias, 10)
    assert [depends(made["scale_equalising"], i) for i in range(4)] == [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]]


def test_none_stops_gradients_and_skip_passes_the_very_pyramid():
    x, sizes = random(EVEN)
    x.requires_grad_()
    assert Skip()(x, sizes) is x
    (Nothing()(x, sizes) + x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def neck(names, width=2, channels=(3, 4, 5, 6), deformable=True, shared=False):
    nodes = next(n for n in range(1, 9) if n * (n + 1) // 2 == len(names))
    return Neck(channels, width, nodes, [paths(width, deformable, shared)[name] for name in names])


def maps(channels=(3, 4, 5, 6), side=32):
    torch.manual_seed(1)
    return [torch.randn(2, each, side >> i, side >> i) for i, each in enumerate(channels)]


def test_all_skips_are_thirty_one_times_the_input():
    one, five = neck(["skip_connect"]), neck(["skip_connect"] * 15)
    five.load_state_dict(one.state_dict())
    for start, end in zip(one(maps()), five(maps()), strict=True):
        torch.testing.assert_close(end, 31 * start)


def test_the_context_of_the_whole_is_added_to_the_coarsest_level_alone():
    built = neck(["skip_connect"])
    levels = [lateral(each) for lateral, each in zip(built.laterals, maps(), strict=True)]
    levels[3] = levels[3] + built.context(levels[3]).mean((2, 3), keepdim=True)
    for found, want in zip(built(maps()), levels, strict=True):
        assert torch.equal(found, want)


def test_three_maps_get_a_fourth_level_of_half_the_last():
    built = neck(["top_down"], channels=(3, 4, 5))
    assert [tuple(each.shape) for each in built(maps((3, 4, 5)))] == [(2, 2, side, side) for side in (32, 16, 8, 4)]
    with pytest.raises(ValueError, match="takes 3 or 4 maps of a backbone, not 5"):
        neck(["none"], channels=(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="3 nodes have 6 edges, not 5"):
        Neck([3, 4, 5], 2, 3, [Nothing()] * 5)


@pytest.mark.parametrize(
    ("width", "deformable", "count"),
    [(112, True, 5_033_874), (160, True, 9_617_874), (112, False, 4_398_240), (160, False, 8_710_080)],
)
def test_the_released_neck_has_the_counted_parameters(width, deformable, count):
    with torch.device("meta"):
        assert params(neck(RELEASED, width, BACKBONE, deformable, shared=True)) == count


def test_each_part_has_the_counted_parameters():
    with torch.device("meta"):
        made, plain = paths(112, True, shared=True), neck(["none"], 112, BACKBONE)
        two = paths(112, True)["fusing_splitting"]
    assert {name: params(path) for name, path in made.items()} == {
        "none": 0,
        "skip_connect": 0,
        "top_down": 524_680,
        "bottom_up": 524_680,
        "fusing_splitting": 262_210,
        "scale_equalising": 393_510,
    }
    assert (params(plain.laterals), params(plain.context)) == (430_528, 12_656)
    assert params(two) == 2 * 262_210


def test_the_finest_level_never_deforms():
    for name in ("top_down", "bottom_up", "scale_equalising"):
        path = paths(2, deformable=True)[name]
        x, sizes = random(EVEN)
        before = unpacked(path(x, sizes), sizes)
        for module in path.modules():
            if isinstance(module, Deformable):
                torch.nn.init.constant_(module.offset.bias, 0.4)
        after = unpacked(path(x, sizes), sizes)
        changed = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
        # what top-down brings to the finest level from above was deformed there
        assert changed == ([True] * 4 if name == "top_down" else [False, True, True, True])


def test_levels_lie_one_behind_the_other_row_by_row():
    fine, coarse = torch.arange(12.0).view(1, 2, 3, 2), torch.tensor([[[[100.0]], [[200.0]]]])
    x, sizes = packed([fine, coarse])
    assert x.tolist() == [[[0, 1, 2, 3, 4, 5, 100], [6, 7, 8, 9, 10, 11, 200]]]
    assert sizes == [(3, 2), (1, 1)]
    for found, want in zip(unpacked(x, sizes), (fine, coarse), strict=True):
        assert torch.equal(found, want)


ROWS = torch.tensor([[[[1.0, 5.0, 2.0], [4.0, 3.0, 8.0], [7.0, 6.0, 9.0]]]])


@pytest.mark.parametrize(
    ("x", "size", "rows"),
    [
        (ROWS[..., :2, :2], (3, 4), [[1, 1, 5, 5], [1, 1, 5, 5], [4, 4, 3, 3]]),
        (ROWS[..., :1, :2], (1, 4), [[1, 1, 5, 5]]),
        (ROWS[..., :2, :1], (4, 1), [[1], [1], [4], [4]]),
        (ROWS, (3, 2), [[1, 5], [4, 3], [7, 6]]),
        (ROWS, (2, 3), [[1, 5, 2], [4, 3, 8]]),
    ],
)
def test_a_level_is_resized_to_the_nearest_pixel(x, size, rows):
    assert resized(x, size)[0, 0].tolist() == rows


def test_a_level_of_the_right_size_is_itself():
    assert resized(ROWS, (3, 3)) is ROWS
    assert resized(ROWS, torch.Size([3, 3])) is ROWS


@pytest.mark.parametrize(
    ("x", "size", "rows"),
    [
        (ROWS, (1, 1), [[5]]),
        (ROWS, (2, 2), [[5, 5], [5, 5]]),  # one window fits, and is spread
        (F.pad(ROWS, (0, 1, 0, 1)), (2, 2), [[5, 8], [7, 9]]),
        (ROWS[..., :1, :], (1, 2), [[5, 5]]),
        (F.pad(ROWS, (0, 1))[..., :1, :], (1, 2), [[5, 2]]),
        (F.pad(ROWS, (0, 0, 0, 1))[..., :1], (2, 1), [[4], [7]]),
        (ROWS[..., :1, :1], (1, 1), [[1]]),
    ],
)
def test_a_level_is_halved_by_the_largest_of_four_pixels_and_a_side_of_one_stays(x, size, rows):
    assert halved(x, size)[0, 0].tolist() == rows


def grown(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def half(x):
    return x.unflatten(3, (-1, 2)).amax(4).unflatten(2, (-1, 2)).amax(3)


def kernel(conv, x, stride=1):
    return F.conv2d(x, conv.weight, conv.bias, stride, 1)


def test_paths_from_end_to_end_take_what_the_neighbour_has_become():
    x, sizes = random(EVEN)
    levels = unpacked(x, sizes)
    down, up = (paths(2, deformable=False)[name] for name in ("top_down", "bottom_up"))
    assert len(down.kernels) == len(up.kernels) == 4
    expected = [kernel(down.kernels[3], levels[3])]
    for i in (2, 1, 0):
        expected.insert(0, kernel(down.kernels[i], levels[i] + grown(expected[0])))
    torch.testing.assert_close(unpacked(down(x, sizes), sizes), expected)
    expected = [kernel(up.kernels[0], levels[0])]
    for i in (1, 2, 3):
        expected.append(kernel(up.kernels[i], levels[i] + half(expected[-1])))
    torch.testing.assert_close(unpacked(up(x, sizes), sizes), expected)


@pytest.mark.parametrize("shared", [False, True])
def test_levels_are_fused_in_pairs_each_with_the_others_and_split_again(shared):
    path = paths(2, False, shared)["fusing_splitting"]
    assert (path.small is path.large) is shared
    assert paths(2, False)["fusing_splitting"].small is not paths(2, False)["fusing_splitting"].large
    x, sizes = random(EVEN)
    x2, x3, x4, x5 = unpacked(x, sizes)
    small, large = grown(x5) + x4, half(x2) + x3
    fine = kernel(path.large, torch.cat([large, grown(small)], 1))
    coarse = kernel(path.small, torch.cat([half(large), small], 1))
    torch.testing.assert_close(unpacked(path(x, sizes), sizes), [grown(fine), fine, coarse, half(coarse)])


@pytest.mark.parametrize("sizes", [EVEN, ODD])
def test_a_convolution_over_the_pyramid_adds_the_finer_level_strided_and_the_coarser_one_grown(sizes):
    torch.manual_seed(0)
    path = paths(2, deformable=False)["scale_equalising"]
    x, sizes = random(sizes)
    levels, expected = unpacked(x, sizes), []
    for i, level in enumerate(levels):
        total = kernel(path.same, level)
        if i > 0:
            total = total + kernel(path.finer, levels[i - 1], 2)
        if i < 3:
            total = total + F.interpolate(kernel(path.coarser, levels[i + 1]), size=sizes[i], mode="nearest")
        expected.append(total.relu())
    torch.testing.assert_close(unpacked(path(x, sizes), sizes), expected)


@pytest.mark.parametrize("shared", [False, True])
def test_what_paths_of_shared_kernels_cost_is_known_without_building_each(shared, monkeypatch):
    """Levels of 16, 4, 2 and 1 pixels: fused are four and two of them, of twice as many channels.

    The other path has its own level, the finer one at a stride, and the coarser one before it grows.
    """

    class Path(torch.nn.Module):
        def __init__(self):
            super().__init__()
            made = paths(2, False, shared)
            self.path = Choice("path", {name: made[name] for name in ("fusing_splitting", "scale_equalising")})

        def forward(self, x):
            return self.path(x, sizes=[(4, 4), (2, 2), (2, 1), (1, 1)])

    space = Space(Path())
    known = sizes_of(space, (2, 23))
    monkeypatch.setattr(Space, "derive", None)
    macs = {name: known(space.decide(lambda d, name=name: name))["macs"] for name in PATHS[4:]}
    assert macs == {
        "fusing_splitting": (4 + 2) * 9 * 4 * 2,
        "scale_equalising": (23 + 6 + 7) * 9 * 2 * 2,
    }


def test_its_kernels_begin_near_zero_and_those_of_laterals_as_xaviers():
    torch.manual_seed(0)
    path = paths(32, deformable=False)["scale_equalising"]
    for conv in (path.same, path.coarser, path.finer):
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not conv.bias.any()
    built = neck(["none"], width=32, channels=(40, 40, 40))
    for conv, inputs in ((built.laterals[0], 40), (built.context, 32), (built.extra[0], 9 * 32)):
        outputs = 32 * conv.kernel_size[0] ** 2
        most = (6 / (inputs + outputs)) ** 0.5
        assert 0.95 * most < conv.weight.max() <= most
        assert -0.95 * most > conv.weight.min() >= -most
        assert not conv.bias.any()


def test_a_node_adds_up_what_its_edges_make_of_the_nodes_before():
    """Edges multiply by 2, 3, 5, 7, 11 and 13: P1 = 2, P2 = 3 + 5 x 2, P3 = 7 + 11 P1 + 13 P2."""

    class Times(torch.nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x, sizes):
            return self.factor * x

    built = Neck((3, 4, 5), 2, 3, [Times(n) for n in (2, 3, 5, 7, 11, 13)])
    start = Neck((3, 4, 5), 2, 1, [Skip()])
    start.load_state_dict(built.state_dict())
    for found, once in zip(built(maps((3, 4, 5))), start(maps((3, 4, 5))), strict=True):
        torch.testing.assert_close(found, (2 + 13 + 7 + 11 * 2 + 13 * 13) * once)
    levels = [kernel_of(each) for kernel_of, each in zip(built.laterals, maps((3, 4, 5)), strict=True)]
    extra = F.conv2d(levels[2], built.extra[0].weight, stride=2, padding=1)
    context = F.conv2d(extra, built.context.weight).mean((2, 3), keepdim=True)
    torch.testing.assert_close(start(maps((3, 4, 5))), [*levels, extra + context])


@pytest.mark.parametrize(("count", "said"), [(2, "takes 3 or 4 maps of a backbone, not 2"), (5, "maps of .* not 5")])
def test_a_neck_of_fewer_or_more_maps_is_an_error(count, said):
    with pytest.raises(ValueError, match=said):
        Neck([3] * count, 2, 1, [Skip()])


@pytest.mark.parametrize(("nodes", "edges"), [(1, 1), (2, 3), (4, 10)])
def test_a_neck_has_an_edge_between_all_nodes(nodes, edges):
    assert len(Neck([3, 4, 5], 2, nodes, [Skip()] * edges).edges) == edges
    for wrong in (edges - 1, edges + 1):
        with pytest.raises(ValueError, match=f"{nodes} nodes have {edges} edges, not {wrong}"):
            Neck([3, 4, 5], 2, nodes, [Skip()] * wrong)
