"""search.methods.sgas: when it decides and for what, what it remembers, and how certain it leaves what is decided."""

import math

import pytest
import torch

from tests.search.planted import bench_of, data, planted
from tests.search.toys import Loader, cells, images
from tests.splits import image_split
from winnow.core.errors import Refused
from winnow.data.loaders import Batches
from winnow.search.bench import Bench, Found
from winnow.search.methods import sgas as module
from winnow.search.methods.sgas import sgas
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of
from winnow.train.checkpoint import Keeper


def batches(rows: int, size: int) -> Batches:
    split = image_split(torch.zeros(rows, 1, 8, 8, dtype=torch.uint8), images(rows)[1], ("a", "b", "c"))
    return Batches(split, size, generator=torch.Generator())


class Stood:
    """An outer loop that trains nothing: before each epoch it may set logits; it keeps what it is told after each."""

    def __init__(self, monkeypatch, **logits: list[float]):
        self.logits, self.open, self.decided, self.remembered = logits, [], [], []
        monkeypatch.setattr(module, "bilevel", self)

    def __call__(self, bench, recipe, *, parts, begin, logits):
        with torch.no_grad():
            for name, vector in logits.items():
                vector.copy_(torch.tensor(self.logits.get(name, [0.0] * len(vector))))
        for epoch in range(recipe.epochs):
            begin(epoch)
            relaxed = parts(epoch).relax(logits)
            self.open.append(parts(epoch).learn_logits)
            self.decided.append({n: v for n, v in relaxed.items() if not isinstance(v, torch.Tensor)})
            self.remembered.append(len(bench.keeper.levels[-1].parts["past"]))
        return Found(bench.space, logits)


def run(space, epochs: int, train=(), valid=(), **options):
    bench = Bench(space, 5, train=train, valid=valid, keeper=Keeper())
    return sgas(bench, Recipe(epochs=epochs), **options).logits


SURE, LESS = [0.0, 0.0, 3.0], [0.0, 1.0, 0.0]  # of blind, noise and sees


def test_the_surest_edge_is_decided_first_by_its_heaviest_option(monkeypatch):
    """Of two edges; e1 is the surer one."""
    told = Stood(monkeypatch, e0=LESS, e1=SURE)
    run(planted(), 6, warmup=1, interval=2)
    assert told.decided == [{}, {}, {"e1": "sees"}, {"e1": "sees"}, *[{"e0": "noise", "e1": "sees"}] * 2]
    assert told.open == [True] * 4 + [False] * 2


@pytest.mark.parametrize(("options", "epochs"), [({"warmup": 1, "interval": 2}, 5), ({"warmup": 0, "interval": 1}, 3)])
def test_an_epoch_has_to_be_left_after_the_last_decision(monkeypatch, options, epochs):
    told = Stood(monkeypatch)
    run(planted(), epochs, **options)
    assert told.open == [True] * (epochs - 1) + [False]
    with pytest.raises(Refused, match=f"search.epochs takes {epochs} or more, not {epochs - 1}"):
        run(planted(), epochs - 1, **options)


def test_it_says_after_which_epoch_the_last_decision_would_be():
    with pytest.raises(Refused, match=r"decides 2 times, the last time after epoch 7, and trains on for one epoch"):
        run(planted(), 8, warmup=4, interval=3)


@pytest.mark.parametrize(("epochs", "decisions"), [(50, [10, 15]), (10, [2, 3]), (25, [5, 7]), (5, [1, 2])])
def test_left_open_it_decides_after_9_and_14_epochs_of_50_and_never_twice_at_once(monkeypatch, epochs, decisions):
    told = Stood(monkeypatch)
    run(planted(), epochs)
    counts = [len(each) for each in told.decided]
    assert [counts.index(1), counts.index(2)] == decisions


@pytest.mark.parametrize(("options", "history"), [({}, 4), ({"history": 2}, 2), ({"history": 1}, 1)])
def test_the_last_epochs_are_remembered(monkeypatch, options, history):
    """Of none before the first is over."""
    told = Stood(monkeypatch)
    run(planted(), 8, warmup=2, interval=2, **options)
    assert told.remembered == [min(epoch, history) for epoch in range(8)]


def test_what_is_decided_is_certain_and_the_others_stay_as_they_are(monkeypatch):
    """20 ahead of the largest, whichever it was: a weight of one but for 2e-9 x the number of others."""
    Stood(monkeypatch, e0=LESS, e1=SURE)
    logits = run(planted(), 6, warmup=1, interval=2)
    assert {name: vector.tolist() for name, vector in logits.items()} == {"e0": [0, 21, 0], "e1": [0, 0, 23]}
    assert logits["e0"].softmax(0).max().item() == pytest.approx(1 - 2 * math.exp(-20), abs=1e-7)


def test_none_is_never_taken_however_heavy(monkeypatch):
    space = cells("nas_bench_201")
    heavy = {name: [9.0 if option == "none" else float(i) for i, option in enumerate(d.options)]
             for name, d in space.decisions.items()}  # fmt: skip
    told = Stood(monkeypatch, **heavy)
    run(space, 8, warmup=0, interval=1)
    others = {name: [o for o in d.options if o != "none"][-1] for name, d in space.decisions.items()}
    assert told.decided[-1] == others


@pytest.mark.parametrize(
    ("options", "sizes"), [({}, [(8, 4), (16, 12), (24, 16)]), ({"batch_growth": 0}, [(8, 4)] * 3)]
)
def test_batches_of_both_splits_grow_with_each_decision_but_not_beyond_their_split(monkeypatch, options, sizes):
    train, valid, seen = batches(40, 8), batches(16, 4), []

    def bilevel(bench, recipe, *, parts, begin, logits):
        for epoch in range(recipe.epochs):
            begin(epoch)
            seen.append((train.batch, valid.batch))
        return Found(bench.space, logits)

    monkeypatch.setattr(module, "bilevel", bilevel)
    run(planted(), 3, train, valid, warmup=0, interval=1, **options)
    assert seen == sizes


def test_batches_that_are_no_split_stay_as_they_are(monkeypatch):
    Stood(monkeypatch)
    train = Loader([images(8)])
    run(planted(), 3, train, train, warmup=0, interval=1)
    assert len(train) == 1


def test_with_perturbation_what_is_missed_most_on_the_held_out_batches_is_taken(monkeypatch):
    """Whatever the logits say: they weigh `noise` most."""
    told = Stood(monkeypatch, e0=LESS, e1=LESS)
    space, asked = planted(), []
    monkeypatch.setattr(module, "_judge", lambda bench, s, judged: asked.append((s, len(judged))) or (0.0, 0.0))

    def most_missed(d, setting, judge):
        assert judge(setting) == (0.0, 0.0)
        return ("sees" if d.name == "e0" else "blind"), []

    monkeypatch.setattr(module, "most_missed", most_missed)
    run(space, 3, (), Loader(data().batches), warmup=0, interval=1, operation="perturbation")
    assert told.decided[-1] == {"e0": "sees", "e1": "blind"}
    assert [count for _, count in asked] == [4, 4]
    assert asked[1][0]["e0"] == "sees"
    assert torch.allclose(asked[0][0]["e0"], torch.tensor(LESS).softmax(0))


def test_a_trained_search_judges_by_the_bench(monkeypatch):
    """In the mixture of both edges the judged score is that of the task, on statistics of these batches."""
    space = planted()
    bench = bench_of(space, data(), data(seed=2))
    setting = {name: "blind" for name in space.decisions}
    score, loss = module._judge(bench, setting, list(bench.valid))
    assert 0 <= score <= 100
    assert loss > 0
    assert not any(p.grad is not None for p in space.parameters())


def test_what_winnow_knows_of_it():
    record = strategy_of(sgas)
    assert record.leaves == {"logits", "children"}
    assert record.shared
    assert record.short == {"criterion": 1}
    assert {name: given for name, (_, given) in record.options().items()} == {
        **{"criterion": 1, "warmup": None, "interval": None, "history": 4, "batch_growth": 8},
        "operation": "magnitude",
    }
