"""search.methods.trials: the study is the bench's."""

from tests.search.benches import numbers
from winnow.search.bench import Bench
from winnow.search.methods.trials import trials
from winnow.search.recipe import Recipe
from winnow.search.strategy import strategy_of


def test_it_finds_what_the_study_tells_and_trains_no_supernet():
    space = numbers()
    found = trials(Bench(space, 0, study=lambda: {"trials": 7.0}), Recipe())
    assert (found.space, found.metrics, found.trained, found.logits) == (space, {"trials": 7.0}, False, None)


def test_what_winnow_knows_of_it():
    record = strategy_of(trials)
    assert record.leaves == {"trials"}
    assert not record.watched
    assert not record.shared
