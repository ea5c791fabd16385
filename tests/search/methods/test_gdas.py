"""search.methods.gdas: what its steps go through, epoch by epoch."""

import pytest
import torch

from tests.search.parts import handed
from tests.search.planted import bench_of, data, planted
from tests.search.toys import logits_of
from winnow.core.holes import NUMBER
from winnow.search.methods import gdas as module
from winnow.search.methods.gdas import gdas
from winnow.search.recipe import Recipe
from winnow.search.relax import sampled, softmax
from winnow.search.strategy import strategy_of
from winnow.train.seeds import generator


@pytest.mark.parametrize(
    ("options", "temperatures"),
    [
        ({}, [10.0, 6.7, 3.4, 0.1]),
        ({"temperature": 2.0, "temperature_min": 1.0}, [2.0, 1.5, 1.0]),
        ({"temperature": 2.0}, [2.0]),
        ({"temperature": 2.0}, [2.0, 0.1]),
    ],
)
@pytest.mark.parametrize(
    ("gradient", "undrawn"), [({}, True), ({"gradient": "all"}, True), ({"gradient": "drawn"}, False)]
)
def test_one_candidate_is_drawn_at_a_temperature_that_falls_in_a_line(
    monkeypatch, options, temperatures, gradient, undrawn
):
    """The gradient of what is drawn tells the temperature; `NUMBER` is there where the others learn, too."""
    rows, space = handed(monkeypatch, module), planted()
    gdas(bench_of(space, data(), data(), seed=5), Recipe(epochs=len(temperatures)), **options, **gradient)
    draws, logits = generator(5, "gumbel"), logits_of(space, scale=1.0)
    for epoch, temperature in enumerate(temperatures):
        parts = rows[0]["parts"](epoch)
        found, expected = parts.relax(logits), sampled(space, temperature, draws)(logits)
        for name in expected:
            ((option, weight), *others) = found[name].items()
            ((same, other), _) = expected[name].items()
            assert (option, [number for number, _ in others]) == (same, [NUMBER] * undrawn)
            slopes = [torch.autograd.grad(each, logits[name], retain_graph=True)[0] for each in (weight, other)]
            torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-7)
        assert parts.told is softmax


def test_what_winnow_knows_of_it():
    record = strategy_of(gdas)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.shared
