"""search.partial: the share of channels that PC-DARTS computes."""

import pytest
import torch
from torch import nn

from tests.search.toys import cells, images, logits_of
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.partial import partial_channels
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
    assert sorted(out) == [-8, -7, -6, -5, -4, -3, 0, 0]
    assert out.index(0) == 0
    assert out[4] == 0  # groups of two, interleaved


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
