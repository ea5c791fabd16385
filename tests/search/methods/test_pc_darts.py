"""search.methods.pc_darts: when its logits begin to learn, which there are, and how many channels pass."""

import pytest
import torch
from torch import nn

from tests.search.parts import handed
from tests.search.planted import bench_of, data, planted
from tests.search.toys import cells
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.partial import Partial
from winnow.search.methods import pc_darts as module
from winnow.search.methods.pc_darts import partial, pc_darts
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.search.strategy import strategy_of
from winnow.train.seeds import generator


@pytest.mark.parametrize(
    ("epochs", "options", "begin"),
    [(50, {}, 15), (10, {}, 3), (13, {}, 3), (14, {}, 4), (3, {}, 0), (10, {"warmup": 5}, 5), (10, {"warmup": 0}, 0)],
)
def test_logits_rest_for_three_tenths_of_the_epochs_unless_told_otherwise(monkeypatch, epochs, options, begin):
    rows = handed(monkeypatch, module)
    pc_darts(bench_of(planted(), data(), data()), Recipe(epochs=epochs), **options)
    learning = [rows[0]["parts"](epoch).learn_logits for epoch in range(epochs)]
    assert learning == [False] * begin + [True] * (epochs - begin)


def test_edges_have_logits_where_the_space_decides_which_to_keep(monkeypatch):
    rows, space = handed(monkeypatch, module), cells("darts")
    pc_darts(bench_of(space, data(), data(), seed=5), Recipe(epochs=1))
    logits, expected = rows[0]["logits"], Logits(space, generator(5, "logits"), subsets=True)
    assert set(logits) == set(space.decisions)
    assert all(torch.equal(logits[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("options", "share"), [({}, 4), ({"share": 2}, 2)])
def test_one_channel_of_four_passes_the_candidates_unless_told_otherwise(options, share):
    found = partial(Space(nn.Sequential(Choice("a", {"conv": nn.Conv2d(8, 8, 1), "skip": nn.Identity()}))), **options)
    (hole,) = found.holes
    assert isinstance(hole, Partial)
    assert hole.share == share
    assert {tuple(p.shape) for p in found.parameters()} >= {(8 // share, 8 // share, 1, 1)}


def test_what_winnow_knows_of_it():
    record = strategy_of(pc_darts)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.shared
    assert (record.form, record.short) == (partial, {"warmup": 0})
