"""Replayed searches against what others measured on the same table, and against the engine itself."""

import numpy as np
import pytest

from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.lookup import Table
from winnow.trials.plan import Plan
from winnow.trials.replay import band, found, regrets, task
from winnow.trials.search import TableSearch
from winnow.trials.table import Row, as_table


@pytest.fixture(scope="module")
def cifar10(table):
    return task(table, "cifar10_valid")


def test_random_search_finds_what_it_finds_on_this_table(cifar10):
    """Best of n by validation accuracy: mean and spread of 2,000 repeats, computed elsewhere from the same table."""
    regret = regrets(cifar10, "random", 400, 300)
    for n, mean, spread in [(10, 89.97, 0.69), (50, 90.79, 0.41), (100, 91.02, 0.29), (300, 91.26, 0.19)]:
        best = cifar10.values.max() - regret[:, n - 1]
        assert best.mean() == pytest.approx(mean, abs=4 * spread / np.sqrt(400))
        assert best.std() == pytest.approx(spread, rel=0.2)


def test_evolution_finds_what_it_finds_on_this_table(cifar10):
    """Population 20, tournament 10: 91.46 ± 0.20 after 100 evaluations where repeats are paid for, ours skips them."""
    regret = regrets(cifar10, "regularised_evolution", 30, 100)
    assert 91.40 < cifar10.values.max() - regret[:, 99].mean() < 91.58
    assert regret[:, 99].mean() < regrets(cifar10, "random", 30, 100)[:, 99].mean() / 2


@pytest.mark.parametrize("look_back", [1, 4])
@pytest.mark.parametrize(("strategy", "n"), [("regularised_evolution", 60), ("tpe", 40)])
def test_a_replay_evaluates_what_the_engine_evaluates(table, tmp_path, strategy, n, look_back):
    of = task(table, "cifar10_valid", look_back=look_back)
    evaluated = []

    def evaluate(job):
        evaluated.append(table.row(job.architecture))
        return {"cifar10_valid": float(of.values[evaluated[-1]])}

    plan = Plan({"cifar10_valid": "maximize"}, sampler=strategy, look_back=look_back, seed=3)
    search = Searched(table)
    run(plan, search, Inline(evaluate), where=str(tmp_path / "s"), name="replay", n_trials=n)
    assert found(of, strategy, 3, len(evaluated)) == evaluated


class Searched(TableSearch):
    digest = "of the table"


def test_halving_spends_as_much_as_others_and_beats_random_search(cifar10):
    for strategy in ("successive_halving", "hyperband"):
        regret = regrets(cifar10, strategy, 30, 100)
        assert regret[:, 99].mean() < regrets(cifar10, "random", 30, 100)[:, 99].mean()
        assert np.isnan(regret[:, 0]).any() or strategy == "hyperband"  # nothing is evaluated fully at once


def test_regret_never_grows_and_the_same_seeds_give_the_same_curves(cifar10):
    a, b = (regrets(cifar10, "regularised_evolution", 3, 50, first_seed=7) for _ in range(2))
    assert np.array_equal(a, b)
    assert (np.diff(a, axis=1) <= 0).all()
    mean, low, high = band(a)
    assert (low <= mean).all()
    assert (mean <= high).all()


def tiny(**changes):
    rows = [
        Row(i, f'{{"a":"{v}","b":"x"}}', None, "{}", {}, {}, {"m": float(i)}, "complete", None, 0, {}, 0.0, "cpu", "")
        for i, v in enumerate("pqrs")
    ]
    return Table(as_table(rows))


def test_a_table_is_searched_to_its_end_and_no_further():
    for strategy in ("random", "regularised_evolution"):
        assert sorted(found(task(tiny(), "m"), strategy, 0, 99)) == [0, 1, 2, 3]
    assert found(task(tiny(), "m", "minimize"), "random", 0, 4) == found(task(tiny(), "m"), "random", 0, 4)
    assert (regrets(task(tiny(), "m", "minimize"), "random", 3, 4)[:, 3] == 0).all()


@pytest.mark.parametrize(
    ("metric", "strategy", "sentence"),
    [
        ("m", "luck", "no strategy 'luck': known are random, regularised_evolution, .*tpe"),
        ("n", "random", "the table has no metric 'n'; it has m"),
        ("m", "hyperband", "m has one fidelity in this table"),
    ],
)
def test_what_cannot_be_replayed_is_a_sentence(metric, strategy, sentence):
    with pytest.raises(Refused, match=sentence):
        regrets(task(tiny(), metric), strategy, 1, 2)
