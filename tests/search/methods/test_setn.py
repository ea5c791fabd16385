"""search.methods.setn: weights follow uniform paths, logits the mixture."""

from tests.search.parts import handed
from tests.search.planted import bench_of, data, planted
from tests.search.toys import logits_of
from winnow.search.gradients import first_order
from winnow.search.methods import setn as module
from winnow.search.methods.setn import setn
from winnow.search.paths import uniform_paths
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.strategy import strategy_of
from winnow.train.seeds import rng


def test_each_weights_step_takes_the_next_uniform_path_whatever_the_logits_are(monkeypatch):
    rows, space = handed(monkeypatch, module), planted()
    setn(bench_of(space, data(), data(), seed=5), Recipe(epochs=3))
    path = uniform_paths(space, rng(5, "paths"))
    for epoch in range(3):
        parts = rows[0]["parts"](epoch)
        assert (parts.relax, parts.gradient) == (softmax, first_order)
        assert parts.learn_logits
        for seed in range(4):
            assert parts.attach(logits_of(space, scale=9.0, seed=seed), data().batches[0]) == path()


def test_what_winnow_knows_of_it():
    record = strategy_of(setn)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.shared
