"""search.methods.sandwich: how many networks a batch trains, what its loss is, when the rate rises, who is judged."""

import pytest
import torch.nn.functional as F
from torch import nn

from tests.judging import cross_entropy
from tests.search.toys import Loader, Recorded, points
from winnow.core.choosers import uniform
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.bench import Bench
from winnow.search.methods import sandwich as module
from winnow.search.methods.sandwich import sandwich
from winnow.search.recipe import Recipe
from winnow.search.several import largest, smallest
from winnow.search.strategy import strategy_of
from winnow.train.seeds import rng, seeded

REST = Recipe(epochs=1, lr=1e-12, lr_min=0.0, momentum=0.0, weight_decay=0.0)


def space() -> Space:
    with seeded(0):
        layers = [Choice(name, {i: nn.Linear(2, 2) for i in range(4)}) for name in "abc"]
        return Space(nn.Sequential(*layers, nn.Linear(2, 3)).double())


def bench(made: Space, watch: Recorded | None = None, count: int = 1) -> Bench:
    batches = Loader([points(6, seed) for seed in range(count)])
    return Bench(made, 3, objective=cross_entropy(made), train=batches, watch=watch or Recorded())


@pytest.mark.parametrize(("options", "between"), [({}, 2), ({"between": 0}, 0), ({"between": 3}, 3)])
def test_the_loss_of_a_batch_is_the_mean_over_all_its_networks(options, between):
    made, watch, (x, y) = space(), Recorded(), points(6)
    sandwich(bench(made, watch), REST, **options)
    draws = rng(3, "paths")
    told = made(x, made.decide(largest)).float()
    others = [*(made.decide(uniform(draws)) for _ in range(between)), made.decide(smallest)]
    losses = [F.cross_entropy(told, y), *(F.cross_entropy(made(x, arch).float(), told.softmax(1)) for arch in others)]
    assert watch.epochs[0]["train_loss"] == pytest.approx(sum(each.item() for each in losses) / (between + 2), rel=1e-5)


@pytest.mark.parametrize(("options", "rises"), [({}, False), ({"warmup": 2}, True)])
def test_the_rate_rises_only_where_epochs_of_warmup_are_asked_for(options, rises):
    watch = Recorded()
    sandwich(bench(space(), watch, count=3), Recipe(epochs=4, lr=0.1, lr_min=0.0), **options)
    rates = [row["lr"] for row in watch.epochs]
    assert (rates[0] < rates[1]) is rises
    assert rates[2] > rates[3]


@pytest.mark.parametrize("options", [{}, {"judge": True}, {"judge": False}])
def test_the_ends_and_the_same_two_random_networks_are_judged_after_every_epoch(monkeypatch, options):
    rows, made = [], space()
    monkeypatch.setattr(
        module, "train_children", lambda bench, recipe, lesson, judged, **course: rows.extend(map(judged, range(3)))
    )
    assert sandwich(bench(made), REST, **options).space is made
    assert rows[0] == rows[1] == rows[2]
    if options.get("judge", True):
        random = [made.decide(uniform(rng(3, "judged", i))) for i in range(2)]
        ends = {"largest": made.decide(largest), "smallest": made.decide(smallest)}
        assert rows[0] == {**ends, "random_1": random[0], "random_2": random[1]}
        assert random[0] != random[1]
    else:
        assert rows[0] == {}


def test_what_winnow_knows_of_it():
    record = strategy_of(sandwich)
    assert record.leaves == {"children"}
    assert not record.watched
    assert record.shared
