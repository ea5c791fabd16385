"""search.methods.fair: how many answers are too many, what a batch's loss is, and who is judged."""

import pytest
import torch
from torch import nn

from tests.search.benches import numbers
from tests.search.toys import Loader, Recorded, points
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.methods import fair as module
from winnow.search.methods.fair import Turns, fair
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of
from winnow.train.seeds import rng, seeded

REST = Recipe(epochs=1, lr=1e-12, lr_min=0.0, momentum=0.0, weight_decay=0.0)


def uneven() -> Space:
    """Two and three options; x is (batch, 2)."""
    with seeded(0):
        layers = [Choice(name, {i: nn.Linear(2, 2) for i in range(n)}) for name, n in (("a", 2), ("b", 3))]
        return Space(nn.Sequential(*layers, nn.Linear(2, 3)).double())


def test_a_decision_of_256_answers_is_taken_and_one_of_257_is_not():
    assert Turns(numbers("a", 256), rng(0, "x")).paths == 256
    mixed = Space(nn.Sequential(*numbers("ab", 2).model, *numbers("c", 257).model))
    with pytest.raises(Refused, match="'c' has 257: it takes up to 256; search this space with spos or sandwich"):
        Turns(mixed, rng(0, "x"))


def test_each_turn_takes_all_options_before_any_again():
    turns = Turns(numbers("a", 5), rng(0, "x"))
    rounds = [[turns.path()["a"] for _ in range(5)] for _ in range(20)]
    assert all(sorted(each) == [0, 1, 2, 3, 4] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 10


@pytest.mark.parametrize("options", [{}, {"gradient": "sum"}, {"gradient": "mean"}])
def test_the_loss_of_a_batch_is_the_mean_over_its_paths_either_way(options):
    """As many paths as the larger decision has options: three."""
    space, watch, told = uneven(), Recorded(), []

    def objective(batch, setting):
        told.append(nn.functional.cross_entropy(space(batch[0], setting), batch[1]))
        return told[-1]

    fair(Bench(space, 0, objective=objective, train=Loader([points(6)]), watch=watch), REST, **options)
    assert len(told) == 3
    assert watch.epochs[0]["train_loss"] == pytest.approx(sum(each.item() for each in told) / 3)
    gradients = [p.grad.norm() for p in space.model[-1].parameters()]
    assert all(g > 0 for g in gradients)


@pytest.mark.parametrize(("options", "share"), [({}, 1.0), ({"gradient": "sum"}, 1.0), ({"gradient": "mean"}, 1 / 3)])
def test_gradients_add_up_unless_their_mean_is_asked_for(monkeypatch, options, share):
    """Each path's loss is 5 times one number, whose gradient is then 15 or 5."""
    space, number = uneven(), torch.ones((), requires_grad=True)
    steps = []
    monkeypatch.setattr(
        module, "train_children", lambda bench, recipe, lesson, judged, **course: steps.append(lesson(0))
    )
    bench = Bench(space, 0, objective=lambda batch, setting: 5 * number, train=Loader([points(6)]))
    fair(bench, REST, **options)
    assert float(steps[0](points(6))) == 5
    assert float(number.grad) == pytest.approx(15 * share)


@pytest.mark.parametrize(("options", "names"), [({}, ["first", "last"]), ({"judge": False}, [])])
def test_first_and_last_options_are_judged_unless_told_otherwise(monkeypatch, options, names):
    rows, space = [], uneven()
    monkeypatch.setattr(
        module, "train_children", lambda bench, recipe, lesson, judged, **course: rows.append(judged(0))
    )
    fair(Bench(space, 0, train=Loader([points(6)])), REST, **options)
    ends = {"first": {"a": 0, "b": 0}, "last": {"a": 1, "b": 2}}
    assert {name: dict(arch) for name, arch in rows[0].items()} == {name: ends[name] for name in names}


def test_what_winnow_knows_of_it():
    record = strategy_of(fair)
    assert record.leaves == {"children"}
    assert not record.watched
    assert record.shared
