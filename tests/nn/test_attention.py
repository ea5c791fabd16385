"""Pieces of a vision transformer, each against its definition pair by pair or worked out by hand."""

import pytest
import torch
from torch import nn

from winnow.measure.cost import macs
from winnow.nn.attention import Attention, MeanOfPatches, Normed, Patches, Placed, RelativePlaces


def draws(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_patches_are_row_by_row_and_a_patch_channel_by_channel():
    x = torch.arange(16).view(1, 2, 2, 4)
    assert Patches(2)(x).tolist() == [[[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]]
    assert Patches(1)(x)[0].tolist() == [[i, 8 + i] for i in range(8)]


@pytest.mark.parametrize(("height", "width", "side"), [(6, 4, 2), (3, 9, 3), (4, 4, 4)])
def test_a_patch_is_the_square_at_its_place(height, width, side):
    x = draws(3, 2, height, width)
    found = Patches(side)(x)
    assert found.shape == (3, height * width // side**2, 2 * side**2)
    corners = [(i, j) for i in range(0, height, side) for j in range(0, width, side)]
    for place, (i, j) in enumerate(corners):
        assert torch.equal(found[:, place], x[:, :, i : i + side, j : j + side].flatten(1))


def test_tokens_come_behind_one_that_is_learnt_and_each_has_a_place():
    placed = Placed(2, 3)
    with torch.no_grad():
        placed.token.copy_(torch.tensor([[[1.0, 2.0, 3.0]]]))
        placed.places.copy_(torch.tensor([[[10.0, 10, 10], [20, 20, 20], [30, 30, 31]]]))
    x = torch.tensor([[[1.0, 1, 1], [2, 2, 2]], [[5, 6, 7], [0, 0, 0]], [[-20, 0, 0], [-30, 0, 0]]])
    assert placed(x).tolist() == [
        [[11, 12, 13], [21, 21, 21], [32, 32, 33]],
        [[11, 12, 13], [25, 26, 27], [30, 30, 31]],
        [[11, 12, 13], [0, 20, 20], [0, 30, 31]],
    ]
    assert [tuple(p.shape) for p in placed.parameters()] == [(1, 1, 3), (1, 3, 3)]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Placed(399, 100), ["token", "places"]),
        (lambda: RelativePlaces((2, 2), 100, 49), ["keys", "values"]),
    ],
)
def test_what_is_no_layer_begins_near_zero_on_either_side(make, names):
    torch.manual_seed(0)
    module = make()
    for name in names:
        values = module.get_parameter(name).detach()
        assert values.std().item() == pytest.approx(0.02, rel=0.2)
        assert abs(values.mean()) < 0.01
        assert values.min() < 0 < values.max()
        with torch.no_grad():
            module.get_parameter(name).fill_(7.0)
    module.reset_parameters()
    assert all(module.get_parameter(name).abs().max() < 1 for name in names)


def test_a_norm_is_over_as_many_channels_as_come():
    norm = Normed(3, eps=0.25).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    x = draws(2, 4, 3)
    deviation = (x.var(2, unbiased=False, keepdim=True) + 0.25).sqrt()
    torch.testing.assert_close(norm(x), (x - x.mean(2, keepdim=True)) / deviation * norm.weight + norm.bias)


@pytest.mark.parametrize("made", [lambda d: Placed(5, d), Normed])
def test_narrow_names_the_axes_that_grow_with_the_width(made):
    less, more = (dict(made(d).named_parameters()) for d in (3, 7))
    grow = {
        name: tuple(d for d, (a, b) in enumerate(zip(less[name].shape, more[name].shape, strict=True)) if a != b)
        for name in less
    }
    assert grow == made(3).narrow


@pytest.mark.parametrize(("grid", "reach"), [((2, 3), 1), ((3, 2), 2), ((1, 4), 2), ((4, 4), 1)])
def test_rows_of_the_tables_are_distances_cut_off_at_their_reach(grid, reach):
    module = RelativePlaces(grid, 2, reach)
    at = [(row, column) for row in range(grid[0]) for column in range(grid[1])]
    found = module.places()
    assert module.keys.shape == module.values.shape == (2, 2 * reach + 2, 2)
    for axis in (0, 1):
        rows = [[0] * (len(at) + 1)]
        for one in at:
            far = [max(-reach, min(reach, other[axis] - one[axis])) for other in at]
            rows.append([0, *(distance + reach + 1 for distance in far)])
        assert found[axis].tolist() == rows
    assert found[0].min() == 0
    assert found[0].max() <= 2 * reach + 1


@pytest.mark.parametrize(("grid", "reach"), [((2, 3), 1), ((3, 1), 3)])
def test_attention_knows_rows_and_columns_of_every_pair(grid, reach):
    """Written out pair by pair, with three images and two heads of five channels."""
    width, patches = 5, grid[0] * grid[1]
    module = RelativePlaces(grid, width, reach).double()
    with torch.no_grad():
        module.keys.copy_(draws(2, 2 * reach + 2, width, seed=1))
        module.values.copy_(draws(2, 2 * reach + 2, width, seed=2))
    q, k, v = draws(3, 3, 2, patches + 1, width)
    rows, columns = module.places()
    found = module(q, k, v)
    assert found.shape == q.shape
    for image in range(3):
        for head in range(2):
            for a in range(patches + 1):
                logits, given = [], []
                for b in range(patches + 1):
                    to = k[image, head, b] + module.keys[0, rows[a, b]] + module.keys[1, columns[a, b]]
                    logits.append(q[image, head, a] @ to / 5**0.5)
                    given.append(v[image, head, b] + module.values[0, rows[a, b]] + module.values[1, columns[a, b]])
                weights = torch.stack(logits).softmax(0)
                torch.testing.assert_close(found[image, head, a], weights @ torch.stack(given))


def test_attention_takes_four_products_of_all_pairs():
    """Queries with keys and with places, weights with values and with places."""

    class Looks(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = RelativePlaces((2, 3), 5, 1)

        def forward(self, x):
            return self.inner(x, x, x)

    assert macs(Looks(), (2, 7, 5)) == 4 * 2 * 7 * 7 * 5


class Told(nn.Module):
    """Keeps what it was given and returns a mix of it that tells query, key and value apart."""

    def forward(self, q, k, v):
        self.given = q, k, v
        return q + 10 * k + 100 * v


def test_channels_are_query_key_and_value_in_turn_head_after_head():
    """Two tokens of one channel; two heads of two channels, whose channel c is 3 c + (0, 1, 2)."""
    qkv = nn.Linear(1, 12, bias=False)
    with torch.no_grad():
        qkv.weight.copy_(torch.arange(12.0)[:, None])
    inner = Told()
    project = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        project.weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0])))
    out = Attention(qkv, inner, project, 2)(torch.tensor([[[1.0], [2.0]], [[0.0], [-1.0]]]))
    q, k, v = inner.given
    assert q.shape == (2, 2, 2, 2)
    assert q[0].tolist() == [[[0, 3], [0, 6]], [[6, 9], [12, 18]]]
    assert k[0].tolist() == [[[1, 4], [2, 8]], [[7, 10], [14, 20]]]
    assert v[0].tolist() == [[[2, 5], [4, 10]], [[8, 11], [16, 22]]]
    assert (q[1, 0, 0].tolist(), q[1, 1, 1].tolist()) == ([0, 0], [-6, -9])
    mixed = [c + 10 * (c + 1) + 100 * (c + 2) for c in (0, 3, 6, 9)]
    first = [times * value for times, value in zip((1, 2, 3, 4), mixed, strict=True)]
    expected = [[first, [2 * value for value in first]], [[0] * 4, [-value for value in first]]]
    assert out.tolist() == expected


def test_the_mean_is_of_all_tokens_but_the_first():
    x = torch.tensor([[[100.0, 100.0], [1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [5.0, 5.0], [7.0, -5.0]]])
    assert MeanOfPatches()(x).tolist() == [[2, 4], [6, 0]]
