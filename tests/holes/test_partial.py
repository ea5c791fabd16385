"""search.partial: the share of channels that PC-DARTS computes."""

import pytest
import torch
from torch import nn

from tests.search.toys import cells, images, logits_of
from winnow.core.choosers import uniform
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.partial import Partial, PartialChild, narrowed, partial_channels
from winnow.search.relax import Logits, softmax
from winnow.search.selections.magnitude import magnitude


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_decisions_stay_and_candidates_shrink(name):
    space = cells(name)
    partial = partial_channels(space, 4)
    assert partial.digest == space.digest
    ours, theirs = (
        sum(p.numel() for h in s.holes if h.decision.pick == 1 for p in h.parameters()) for s in (partial, space)
    )
    assert ours < theirs / 4
    scores = partial(images(4)[0], softmax(logits_of(partial)))
    assert scores.isfinite().all()


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_the_child_computes_what_the_space_computes(name):
    import random

    space, (x, _) = partial_channels(cells(name), 2), images(4)
    arch = space.decide(uniform(random.Random(0)))
    space.eval()
    torch.testing.assert_close(space(x, arch), space.derive(arch)(x), rtol=1e-5, atol=1e-6)


def test_the_other_channels_pass_by_and_are_shuffled():
    space = Space(nn.Sequential(Choice("a", {"zero": nn.ReLU(), "id": nn.Identity()})))
    x = -torch.arange(8.0).view(1, 8, 1, 1) - 1
    out = partial_channels(space, 4)(x, {"a": "zero"}).flatten().tolist()
    assert out == [0, -3, -5, -7, 0, -4, -6, -8]  # four groups of two, interleaved
    halves = partial_channels(space, 2)(x, {"a": "zero"}).flatten().tolist()
    assert halves == [0, -5, 0, -6, 0, -7, 0, -8]


def test_edges_are_normalised_where_the_space_keeps_some_of_them():
    space = cells("darts")
    logits = Logits(space, torch.Generator(), subsets=True)
    assert {"normal/2", "reduce/5"} < set(logits)
    weights = {name: vector.detach() for name, vector in softmax(logits).items()}
    weights["normal/3"] = torch.tensor([0.1, 0.8, 0.1])
    arch = magnitude(space, weights)
    assert 1 in arch["normal/3"]


def test_widths_and_modules_that_cannot_be_shared_are_refused():
    with pytest.raises(Refused, match="share is 3, which does not divide the 4 channels"):
        partial_channels(cells(), 3)
    with pytest.raises(Refused, match="know no Linear"):
        partial_channels(Space(nn.Sequential(Choice("a", {"x": nn.Linear(4, 4), "y": nn.Identity()}))), 2)
    wider = Space(nn.Sequential(Choice("a", {"x": nn.Conv2d(4, 8, 1), "y": nn.Conv2d(4, 8, 3, 1, 1)})))
    with pytest.raises(Refused, match="keep the number of channels, not from 2 to 4"):
        partial_channels(wider, 2)(torch.randn(1, 4, 2, 2), {"a": "x"})
    less = partial_channels(Space(nn.Sequential(Choice("a", {"x": nn.Conv2d(4, 2, 1)}))), 2)
    with pytest.raises(Refused, match="keep the number of channels, not from 2 to 1"):
        less(torch.randn(1, 4, 2, 2), {"a": "x"})


@pytest.mark.parametrize(("share", "groups"), [(1, 8), (2, 4), (4, 2), (8, 1)])
def test_a_narrowed_convolution_keeps_its_form_and_has_a_share_of_its_channels_and_groups(share, groups):
    conv = narrowed(nn.Conv2d(8, 16, (3, 5), (2, 1), (1, 4), (1, 2), groups=8, bias=False), share)
    assert (conv.in_channels, conv.out_channels, conv.groups, conv.bias) == (8 // share, 16 // share, groups, None)
    assert (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 5), (2, 1), (1, 4), (1, 2))
    whole = narrowed(nn.Conv2d(8, 16, 1), share)
    assert (whole.groups, whole.bias.shape[0]) == (1, 16 // share), "a convolution of one group has no less"
    assert narrowed(nn.Conv2d(8, 8, 1, groups=2), share).groups == max(1, 2 // share)


@pytest.mark.parametrize("affine", [True, False])
def test_all_inside_is_narrowed_in_a_copy_and_what_holds_no_parameters_stays_what_it_is(affine):
    module = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, affine=affine)), nn.ReLU())
    module.register_module("nothing", None)
    less = narrowed(module, 2)
    assert (less[0][0].in_channels, less[0][1].num_features, less[0][1].affine) == (2, 2, affine)
    assert type(less[1]) is nn.ReLU
    assert less.nothing is None
    assert (module[0][0].in_channels, module[0][1].num_features) == (4, 4)


@pytest.mark.parametrize(("side", "half"), [(4, 2), (5, 3), (1, 1)])
def test_what_passes_by_is_pooled_where_candidates_halve_the_map(side, half):
    """One channel of two; the largest of each 2 x 2, of what there is of it at an odd border."""
    space = partial_channels(Space(nn.Sequential(Choice("a", {"halve": nn.MaxPool2d(1, 2)}))), 2)
    x = torch.arange(2.0 * side * side).view(1, 2, side, side)
    found = space(x, {"a": "halve"})
    assert found.shape == (1, 2, half, half)
    assert torch.equal(found[0, 0], x[0, 0, ::2, ::2])
    borders = [min(2 * i + 1, side - 1) for i in range(half)]
    assert torch.equal(found[0, 1], x[0, 1][borders][:, borders])
    assert torch.equal(space.derive({"a": "halve"})(x), found)


def test_choices_of_several_and_those_with_choices_inside_stay_whole():
    inner = Choice("inner", {"x": nn.Identity(), "y": nn.ReLU()})
    model = nn.Sequential(
        Choice("pair", {"a": nn.ReLU(), "b": nn.Tanh(), "c": nn.Identity()}, pick=2),
        Choice("outer", {"in": nn.Sequential(inner), "tanh": nn.Tanh()}),
        Choice("plain", {"relu": nn.ReLU(), "id": nn.Identity()}, mixture_only=("id",)),
    )
    partial = partial_channels(Space(model), 2)
    assert [type(hole) for hole in partial.model] == [Choice, Choice, Partial]
    assert type(partial.model[1].candidates["in"][0]) is Partial
    assert partial.decisions["plain"] == Decision("plain", ("relu", "id"), mixture_only=("id",))
    assert partial.board.plain
    assert not Space(model).board.plain


@pytest.mark.parametrize("training", [True, False])
def test_a_child_of_a_share_has_the_mode_of_its_choice_and_candidates_keep_theirs(training):
    hole = Partial(Choice("a", {"x": nn.BatchNorm2d(4), "y": nn.Identity()}), 2).train(training)
    hole.candidates["x"].train(not training)
    child = hole.decided("x")
    assert type(child) is PartialChild
    assert (child.training, child.module.training) == (training, not training)
    assert child.module is hole.candidates["x"]


def test_what_a_candidate_is_told_by_name_reaches_it():
    class Adds(nn.Module):
        def forward(self, x, much):
            return x + much

    space = Space(nn.Sequential(Choice("a", {"x": Adds()})))
    hole, x = partial_channels(space, 2).model[0], torch.zeros(1, 4, 1, 1)
    hole.board.setting = {"a": "x"}
    assert hole(x, much=3).flatten().tolist() == hole.decided("x")(x, much=3).flatten().tolist() == [3, 0, 3, 0]
