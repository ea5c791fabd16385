"""search.methods.blank: weights train, logits rest."""

import torch

from tests.search.parts import handed
from tests.search.planted import bench_of, data, planted, search
from tests.search.toys import changed, logits_of, snapshot
from winnow.search.methods import blank as module
from winnow.search.methods.blank import blank, weights_alone
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, softmax
from winnow.search.strategy import strategy_of
from winnow.train.seeds import generator


def test_logits_end_as_they_began_and_weights_do_not():
    space = planted()
    before = snapshot(space)
    _, logits, watch = search(blank, space, seed=5, epochs=2)
    began = Logits(space, generator(5, "logits"))
    assert all(torch.equal(logits[name], began[name]) for name in began)
    assert changed(space, before)
    assert watch.epochs[1]["train_loss"] < watch.epochs[0]["train_loss"]


def test_its_parts_are_those_of_a_mixture_but_for_the_logits(monkeypatch):
    rows = handed(monkeypatch, module)
    blank(bench_of(planted(), data(), data()), Recipe(epochs=2))
    assert [rows[0]["parts"](epoch) for epoch in range(2)] == [Parts(learn_logits=False)] * 2


def test_between_decisions_they_rest_too_and_what_is_decided_is_a_constant():
    space = planted()
    logits, parts = logits_of(space), weights_alone(space, None, None)({"e0": "sees"})
    assert (parts.learn_logits, parts.learn_weights) == (False, True)
    setting = parts.relax(logits)
    assert setting["e0"] == "sees"
    assert torch.equal(setting["e1"], softmax(logits)["e1"])


def test_what_winnow_knows_of_it():
    record = strategy_of(blank)
    assert record.leaves == {"mixture", "children"}
    assert record.between is weights_alone
    assert not record.watched
    assert not record.shared
