"""search.methods.gumbel: how weights are drawn, and how the draws cool."""

import pytest
import torch

from tests.search.parts import handed
from tests.search.planted import SEES, bench_of, data, planted, search
from tests.search.toys import logits_of
from winnow.search.methods import gumbel as module
from winnow.search.methods.gumbel import gumbel_darts
from winnow.search.recipe import Recipe
from winnow.search.relax import gumbel as soft
from winnow.search.relax import softmax, straight_through
from winnow.search.selections.magnitude import magnitude
from winnow.search.strategy import strategy_of
from winnow.train.seeds import generator


def parts_of(monkeypatch, epochs: int, **options):
    """Of each epoch; the temperature is read from what is drawn."""
    rows = handed(monkeypatch, module)
    gumbel_darts(bench_of(planted(), data(), data(), seed=5), Recipe(epochs=epochs), **options)
    return rows[0]["parts"]


@pytest.mark.parametrize(
    ("options", "temperatures"),
    [
        ({}, [1.0, 0.775, 0.55, 0.325, 0.1]),
        ({"temperature": 5.0}, [5.0, 3.775, 2.55, 1.325, 0.1]),
        ({"temperature": 2.0, "temperature_min": 4.0}, [2.0, 2.5, 3.0, 3.5, 4.0]),
        ({"temperature": 3.0, "temperature_min": 1.0}, [3.0]),
        ({"temperature": 3.0, "temperature_min": 1.0}, [3.0, 1.0]),
    ],
)
@pytest.mark.parametrize(("kind", "relax"), [({}, straight_through), ({"hard": False}, soft)])
def test_draws_cool_in_a_line_from_the_first_epoch_to_the_last(monkeypatch, options, temperatures, kind, relax):
    parts, draws = parts_of(monkeypatch, len(temperatures), **options, **kind), generator(5, "gumbel")
    logits = logits_of(planted(), scale=1.0)
    for epoch, temperature in enumerate(temperatures):
        found, expected = parts(epoch).relax(logits), relax(temperature, draws)(logits)
        for name, weights in expected.items():
            torch.testing.assert_close(found[name], weights, rtol=1e-4, atol=1e-6)
        is_hot = all(float(weights.detach().max()) == pytest.approx(1) for weights in found.values())
        assert is_hot is (not kind)


def test_what_is_shown_is_not_drawn(monkeypatch):
    assert parts_of(monkeypatch, 3)(1).told is softmax


@pytest.mark.parametrize("hard", [True, False])
def test_the_planted_candidate_wins(hard):
    space, logits, _ = search(gumbel_darts, epochs=20, hard=hard)
    assert dict(magnitude(space, softmax(logits))) == {"e0": SEES, "e1": SEES}


def test_what_winnow_knows_of_it():
    record = strategy_of(gumbel_darts)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.shared
