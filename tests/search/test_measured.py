"""search.measured: networks judged by what they inherit, and the linear model that is fitted to them."""

import numpy as np
import pytest

from tests.search.planted import bench_of
from tests.search.toys import Recorded, cells
from winnow.predictors.classic import ridge
from winnow.predictors.protocol import Prediction
from winnow.search import measured as module
from winnow.search.additive import parts_of
from winnow.search.bench import Bench
from winnow.search.costs import Costs
from winnow.search.measured import Measured, coefficients, expected, measured, orders
from winnow.train.watch import Watch

LEVELS = {"none": 0.0, "skip_connect": 1.0, "nor_conv_1x1": 2.0, "nor_conv_3x3": 5.0, "avg_pool_3x3": -1.0}


@pytest.fixture
def bench(monkeypatch) -> Bench:
    """Where a network's score is the sum of its operations' levels."""
    monkeypatch.setattr(Bench, "score", lambda self, arch, **_: sum(LEVELS[option] for option in arch.values()))
    return bench_of(cells(), (), ())


def seen(bench: Bench, count: int = 60, watch: Watch | None = None, known: dict | None = None) -> Measured:
    return measured(bench, count, watch or Watch(), {} if known is None else known)


def test_so_many_different_networks_are_judged_each_once_and_what_is_known_is_not_judged(bench, monkeypatch):
    watch, known = Recorded(), {}
    found = seen(bench, watch=watch, known=known)
    assert len({arch.digest for arch in found.archs}) == watch.steps == 60
    assert known == dict(zip([arch.digest for arch in found.archs], found.scores.tolist(), strict=True))
    assert found.scores.tolist() == [sum(map(LEVELS.get, arch.values())) for arch in found.archs]
    monkeypatch.setattr(Bench, "score", lambda *_, **__: pytest.fail("judged again"))
    assert seen(bench, known=known).scores.tolist() == found.scores.tolist()


def test_evidence_says_which_of_them_was_taken(bench):
    found = seen(bench, 5)
    rows = found.rows(found.archs[3])
    assert [row["kept"] for row in rows] == [False, False, False, True, False]
    assert [row["option"] for row in rows] == [arch.digest for arch in found.archs]
    assert [row["accuracy"] for row in rows] == found.scores.tolist()
    assert not any(row["kept"] for row in found.rows(bench.space.decide(lambda d: "none")))


def test_what_an_answer_adds_is_its_level_up_to_a_number_a_decision(bench):
    parts = parts_of(bench.space)
    x, weights = coefficients(parts, seen(bench, 300))
    assert x.shape == (300, 6 * 5)
    for i, part in enumerate(parts):
        told = weights[5 * i : 5 * i + 5]
        levels = np.array([LEVELS[answer] for (answer,) in part.answers])
        assert told - told.mean() == pytest.approx(levels - levels.mean(), abs=0.01)
    assert abs(weights.sum()) < 1e-6  # ridge halves what a decision's answers have in common


def test_a_fit_is_judged_on_what_it_has_not_seen(bench):
    found = seen(bench, 300)
    x = coefficients(parts_of(bench.space), found)[0]
    assert orders(ridge, x, found.scores, 0) > 0.95  # as far as ties let it
    folds = []

    def remembering(given, y, seed):
        known = {row.tobytes(): value for row, value in zip(given, y, strict=True)}
        folds.append(len(known))
        return lambda new: Prediction(np.array([known.get(row.tobytes(), float(i)) for i, row in enumerate(new)]))

    assert abs(orders(remembering, x, found.scores, 0)) < 0.15  # it knows none of those that it is asked about
    assert folds == [300 - 300 // module.FOLDS] * module.FOLDS
    assert np.isnan(orders(lambda *_: lambda new: Prediction(np.ones(len(new))), x, found.scores, 0))
    assert orders(ridge, x[:3], np.arange(3.0), 0) <= 1  # fewer networks than folds


def test_seconds_are_of_the_images_that_judge_and_those_of_the_statistics():
    costs = Costs(cells(), 10, 20, 2, 1.0, lambda: pytest.fail("no mixture"), lambda: 0.5)
    assert expected(costs, 7) == 7 * 30 * 0.5
