"""search.methods.beta_darts: what is added to the validation loss and made of the training loss, epoch by epoch."""

import math

import pytest
import torch

from tests.search.parts import handed
from tests.search.planted import bench_of, data, planted
from winnow.search.methods import beta_darts as module
from winnow.search.methods.beta_darts import beta_darts
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits
from winnow.search.strategy import strategy_of
from winnow.train.seeds import generator


@pytest.mark.parametrize(
    ("epochs", "options", "strengths"),
    [
        (4, {}, [0.0, 12.5, 25.0, 37.5]),
        (100, {}, [epoch / 2 for epoch in range(100)]),
        (4, {"ramp_epochs": 100}, [0.0, 0.5, 1.0, 1.5]),
        (3, {"ramp_epochs": 1}, [0.0, 50.0, 100.0]),
        (2, {"strength": 3.0}, [0.0, 1.5]),
        (2, {"strength": 0.0}, [0.0, 0.0]),
    ],
)
def test_the_decay_grows_in_a_line(monkeypatch, epochs, options, strengths):
    """Of equal logits at 0 the logarithm of the sum is log 3, for either edge."""
    rows, space = handed(monkeypatch, module), planted()
    beta_darts(bench_of(space, data(), data()), Recipe(epochs=epochs), **options)
    logits = Logits(space, generator(0, "logits"), scale=0.0)
    found = [rows[0]["parts"](epoch).penalty(logits).item() for epoch in range(epochs)]
    assert found == pytest.approx([strength * math.log(3) for strength in strengths], rel=1e-5)


@pytest.mark.parametrize(("options", "shaped"), [({}, [0.25, 2.0]), ({"flood": 0.5}, [0.75, 2.0])])
def test_below_the_flood_a_loss_is_turned_around(monkeypatch, options, shaped):
    rows = handed(monkeypatch, module)
    beta_darts(bench_of(planted(), data(), data()), Recipe(epochs=2), **options)
    assert [float(rows[0]["parts"](1).shape(torch.tensor(loss))) for loss in (0.25, 2.0)] == shaped


def test_what_winnow_knows_of_it():
    record = strategy_of(beta_darts)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.shared
