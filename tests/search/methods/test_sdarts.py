"""search.methods.sdarts: by how much mixtures are disturbed, by whom, and that what is decided is not."""

import pytest
import torch

from tests.search.parts import handed
from tests.search.planted import bench_of, data, planted, search
from tests.search.toys import logits_of, loss_of, points, smooth
from winnow.search.bench import Bench
from winnow.search.gradients import first_order
from winnow.search.methods import sdarts as module
from winnow.search.methods.sdarts import disturbed, sdarts
from winnow.search.mixture import Parts
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.smooth import GRADIENTS, adversarial_noise, random_noise
from winnow.search.strategy import strategy_of
from winnow.train.seeds import generator


def parts_of(monkeypatch, space, epochs: int, **options) -> list[Parts]:
    rows = handed(monkeypatch, module)
    sdarts(bench_of(space, data(), data(), seed=5), Recipe(epochs=epochs), **options)
    return [rows[0]["parts"](epoch) for epoch in range(epochs)]


def same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "radii"),
    [
        ({}, [0.03, 0.12, 0.21]),
        ({"epsilon": 0.06, "epsilon_min": 0.0}, [0.0, 0.02, 0.04]),
        ({"epsilon": 0.0, "epsilon_min": 0.3}, [0.3, 0.2, 0.1]),
    ],
)
def test_noise_of_a_growing_radius_disturbs_the_weights_step_alone(monkeypatch, options, radii):
    space, batch = planted(), data().batches[0]
    logits, draws = logits_of(space), generator(5, "noise")
    for parts, radius in zip(parts_of(monkeypatch, space, 3, **options), radii, strict=True):
        assert (parts.relax, parts.gradient) == (softmax, first_order)
        if not radius:
            assert parts.attach is None
            continue
        same(parts.attach(logits, batch), random_noise(radius, draws)(softmax(logits), batch))


def test_an_attack_is_that_on_the_loss_of_the_batch(monkeypatch):
    space, batch = smooth(seed=1), points(8)
    logits, rows = logits_of(space), handed(monkeypatch, module)
    bench = Bench(space, 5, objective=loss_of(space))
    sdarts(bench, Recipe(epochs=2), noise="adversarial")
    parts = rows[0]["parts"](1)
    assert parts.gradient is GRADIENTS["adversarial"]
    draws = generator(5, "noise")
    expected = adversarial_noise(space, bench.objective, 0.165, draws)(softmax(logits), batch)
    found = parts.attach(logits, batch)
    same(found, expected)
    assert any(not torch.equal(found[name], weights) for name, weights in softmax(logits).items())


def test_with_a_radius_of_nothing_it_is_darts(monkeypatch):
    assert parts_of(monkeypatch, planted(), 2, epsilon=0.0, epsilon_min=0.0) == [Parts(), Parts()]


@pytest.mark.parametrize("noise", ["random", "adversarial"])
def test_between_decisions_only_what_is_open_is_disturbed(noise):
    space, batch, decided = smooth(), points(8), {"a": "tanh"}
    objective, logits = loss_of(space), logits_of(space)
    parts = disturbed(space, objective, generator(7, "noise"), noise=noise, epsilon=0.2)(decided)
    found, draws = parts.attach(logits, batch), generator(7, "noise")
    weights = {"b": softmax(logits)["b"]}
    by = random_noise(0.2, draws) if noise == "random" else adversarial_noise(space, objective, 0.2, draws)
    same({"b": found["b"]}, by(weights, batch, decided))
    undisturbed = parts.relax(logits)
    assert (found["a"], undisturbed["a"]) == ("tanh", "tanh")
    assert torch.equal(undisturbed["b"], weights["b"])
    assert not torch.equal(found["b"], weights["b"])
    assert parts.gradient is GRADIENTS[noise]


def test_between_decisions_noise_is_random_and_of_three_tenths_unless_told_otherwise():
    space, batch = planted(), data().batches[0]
    logits = logits_of(space)
    parts = disturbed(space, None, generator(7, "noise"))({})
    same(parts.attach(logits, batch), random_noise(0.3, generator(7, "noise"))(softmax(logits), batch))


@pytest.mark.parametrize("noise", ["random", "adversarial"])
def test_a_search_under_noise_ends_with_weights_of_its_own(noise):
    spaces = [
        search(sdarts, epochs=2, **options)[0] for options in ({"noise": noise}, {"epsilon": 0.0, "epsilon_min": 0.0})
    ]
    one, other = (space.state_dict() for space in spaces)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_what_winnow_knows_of_it():
    record = strategy_of(sdarts)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.between is disturbed
    assert not record.shared
    assert {name: given for name, (_, given) in record.options().items()} == {
        "noise": "random",
        "epsilon_min": 0.03,
        "epsilon": 0.3,
    }
