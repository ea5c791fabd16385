"""search.methods.econas: its study in words of section search.trials, and numbers that do not fit each other."""

import re

import pytest

from tests.search.benches import numbers
from winnow.search.bench import Bench
from winnow.search.methods.econas import econas, meaningless, tries
from winnow.search.recipe import Recipe
from winnow.search.strategy import Run, strategy_of
from winnow.trials.plan import HIERARCHY

SMALL = {"cycles": 4, "initial": 5, "continued": [2, 1], "parents": [2, 1, 1], "age": 3}


def run(epochs: int) -> Run:
    return Run("darts", "fp32", epochs=epochs)


def test_left_open_it_is_the_published_study():
    """16 random networks, then 12 + 16 segments a cycle at most; 2,797 in 100 cycles, each a third of the epochs."""
    found = tries(60)
    settings = {"initial": 16, "continued": [8, 4], "parents": [6, 5, 5], "age": 10, "segment": 20}
    assert (found["sampler"], found["sampler_options"]) == (HIERARCHY, settings)
    assert (found["count"], found["look_back"]) == (2797, 28)
    assert found["training"] == {"epochs": 60, "channels": 4, "resolution": 4, "samples": 1.0}


def test_numbers_of_ones_own_are_those_of_the_study():
    """5 random ones; in four cycles 2 + 2, then 2 + 1 + 2 + 1, then 2 + 1 + 2 + 1 + 1 each."""
    found = tries(10, **SMALL, channels=1, resolution=2, samples=0.5)
    assert found["sampler_options"] == {"initial": 5, "continued": [2, 1], "parents": [2, 1, 1], "age": 3, "segment": 3}
    assert found["training"] == {"epochs": 10, "channels": 1, "resolution": 2, "samples": 0.5}
    assert found["count"] == 5 + 4 + 6 + 7 + 7


@pytest.mark.parametrize(("initial", "look_back"), [(6, 7), (7, 7), (8, 8)])
def test_as_many_run_at_a_time_as_a_cycle_or_the_beginning_has(initial, look_back):
    assert tries(9, **SMALL | {"initial": initial})["look_back"] == look_back


@pytest.mark.parametrize(
    ("epochs", "options"),
    [
        (60, {}),
        (3, {"cycles": 2}),
        (3, {"parents": [1, 0, 0]}),
        (7, {"continued": [], "parents": [2], "cycles": 1}),
        (8, {"continued": [1], "parents": [2, 3], "cycles": 1}),
    ],
)
def test_what_fits_is_no_objection(epochs, options):
    assert meaningless(run(epochs), **options) is None


@pytest.mark.parametrize(
    ("epochs", "options", "said"),
    [
        (3, {"continued": [1]}, "continued: 3 levels .* have 2 from which .* so it takes 2 numbers, not 1"),
        (3, {"continued": [3, 2, 1]}, "so it takes 2 numbers, not 3"),
        (3, {"continued": []}, "so it takes 2 numbers, not 0"),
        (8, {"parents": [1, 1], "continued": [1, 1]}, "continued: 2 levels .* have 1 from .* takes 1 numbers, not 2"),
        (61, {}, r"parents: search.epochs \(61\) are those of all 3 levels together, .* them to 60$"),
        (62, {}, "them to 60$"),
        (2, {}, "them to 3$"),
        (4, {}, "them to 3$"),
        (3, {"continued": [8, 0]}, "continued: 0 lets no network on to the last level"),
        (3, {"continued": [0, 4]}, "continued: 0 lets no network on to the last level"),
        (3, {"parents": [0, 5, 5]}, "parents: at first .* has to be 1 or more, not 0"),
        (3, {"cycles": 1}, "cycles: a network takes 2 cycles to the last of 3 levels"),
        (4, {"cycles": 2, "continued": [1] * 3, "parents": [1] * 4}, "takes 3 cycles to the last of 4 levels"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(epochs, options, said):
    told = meaningless(run(epochs), **options)
    assert told is not None
    assert re.search(said, told)


def test_it_finds_what_its_study_tells_and_trains_no_supernet():
    space = numbers()
    found = econas(Bench(space, 0, study=lambda: {"trials": 7.0}), Recipe())
    assert (found.space, found.metrics, found.trained, found.logits) == (space, {"trials": 7.0}, False, None)


def test_what_winnow_knows_of_it():
    record = strategy_of(econas)
    assert record.leaves == {"trials"}
    assert not record.watched
    assert not record.shared
    assert (record.tries, record.objection) == (tries, meaningless)
