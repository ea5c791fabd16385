"""A cut layer answers what the whole one does, at the channels that remain, where those left out are zero."""

import copy

import pytest
import torch
from torch import nn

from winnow.core.decision import Decision
from winnow.core.space import Space
from winnow.holes.cut import Axis, Cut, cut

HALVES = [0, 1, 4, 5], [0, 1, 2, 6, 7, 8]  # groups 0 and 2 of four
FIRSTS = [0, 2, 4, 6], [0, 2, 3, 5, 6, 8, 9, 11]  # of each of the four groups

CUT = {
    "convolution": (nn.Conv2d(8, 12, 3, padding=1), [1, 2, 7], [0, 5, 6, 11], 1),
    "without a bias": (nn.Conv2d(8, 12, 3, bias=False), [3], [4, 9], 1),
    "outputs alone": (nn.Conv1d(8, 12, 3), None, [2, 3], 1),
    "inputs alone": (nn.Conv1d(8, 12, 3), [0, 6], None, 1),
    "whole groups": (nn.Conv2d(8, 12, 3, groups=4), *HALVES, 2),
    "of each group some": (nn.Conv2d(8, 12, 3, groups=4), *FIRSTS, 4),
    "transposed": (nn.ConvTranspose2d(8, 12, 3, stride=2), [0, 3, 4], [1, 10], 1),
    "transposed, whole groups": (nn.ConvTranspose2d(8, 12, 3, groups=4), *HALVES, 2),
    "transposed, of each group some": (nn.ConvTranspose1d(8, 12, 3, groups=4), *FIRSTS, 4),
    "linear": (nn.Linear(8, 12), [1, 6], [0, 2, 9], None),
    "linear without a bias": (nn.Linear(8, 12, bias=False), [1, 6], [0, 2, 9], None),
}


@pytest.mark.parametrize("what", CUT)
def test_it_answers_what_the_whole_layer_does(what):
    layer, taken, made, groups = CUT[what]
    inputs, outputs = list(range(8)) if taken is None else taken, list(range(12)) if made is None else made
    kernel = layer.weight.dim() - 2
    x = torch.randn(2, len(inputs), *([6] * kernel), generator=torch.Generator().manual_seed(0))
    filled = torch.zeros(2, 8, *x.shape[2:]).index_copy_(1, torch.tensor(inputs), x)
    less = cut(layer, taken, made, None)
    torch.testing.assert_close(less(x), layer(filled)[:, outputs])
    sizes = ("in_features", "out_features") if groups is None else ("in_channels", "out_channels", "groups")
    told = (len(inputs), len(outputs), groups)[: len(sizes)]
    assert tuple(getattr(less, name) for name in sizes) == told
    assert tuple(less.weight.shape) != tuple(layer.weight.shape)


def test_a_kernel_is_cut_at_its_centre():
    layer = nn.Conv2d(4, 4, 5, padding=4, dilation=2)
    x = torch.randn(1, 4, 9, 9, generator=torch.Generator().manual_seed(0))
    rim = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.zero_()[:, :, 1:4, 1:4] = rim[:, :, 1:4, 1:4]
    less = cut(layer, None, None, 3)
    assert (less.kernel_size, less.padding) == ((3, 3), (2, 2))
    torch.testing.assert_close(less(x), layer(x))


@pytest.mark.parametrize(
    ("taken", "made"),
    [([0, 1, 4], [0, 1, 2, 6, 7, 8]), ([0, 1, 2, 3], [0, 1, 2]), ([0, 1, 4, 5], [0, 1, 2, 6]), ([0, 3], [0, 3])],
)
def test_groups_that_keep_other_channels_than_their_neighbours_are_refused(taken, made):
    with pytest.raises(ValueError, match="groups of a convolution keep as many channels each"):
        cut(nn.Conv2d(8, 12, 3, groups=4), taken, made, None)


def test_what_works_on_each_channel_keeps_its_numbers():
    norm = nn.BatchNorm2d(6)
    with torch.no_grad():
        norm.running_mean.copy_(torch.arange(6.0))
        norm.weight.copy_(torch.arange(6.0) + 1)
    less = cut(norm, [1, 4], None, None)
    assert (less.num_features, less.running_mean.tolist(), less.weight.tolist()) == (2, [1.0, 4.0], [2.0, 5.0])
    assert less.num_batches_tracked.dim() == 0
    assert cut(nn.PReLU(6), [0, 5], None, None).num_parameters == 2
    grouped = cut(nn.GroupNorm(3, 6), [2, 3], None, None)
    assert (grouped.num_groups, grouped.num_channels) == (1, 2)


@pytest.mark.parametrize("tracks", [True, False])
def test_statistics_of_the_channels_that_remain_move_and_the_others_stay(tracks):
    width = Decision("width", (2, 4))
    norm = nn.BatchNorm1d(4, track_running_stats=tracks)
    axis = Axis(("width",) * 4, (3, 0, 2, 1))  # the channels in the order of how late they go: 1, 3, 2, 0
    space = Space(nn.Sequential(Cut(norm, [width], axis, None)))
    x = torch.tensor([[1.0, 3.0], [3.0, 9.0]])
    space.train()(x, {"width": 2})
    if tracks:
        assert norm.running_mean.tolist() == pytest.approx([0, 0.2, 0, 0.6])
        assert norm.running_var.tolist() == pytest.approx([1, 0.9 + 0.2, 1, 0.9 + 1.8])
    before = copy.deepcopy(norm.state_dict())
    space.eval()(x, {"width": 2})
    assert all(torch.equal(before[name], tensor) for name, tensor in norm.state_dict().items())
