"""search.methods.unas: what its steps are made of, epoch by epoch; rewards, and how they are fitted."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.judging import cross_entropy
from tests.search.benches import numbers
from tests.search.parts import handed
from tests.search.toys import Loader, points, smooth
from winnow.core.errors import Refused
from winnow.search.bench import Bench
from winnow.search.estimators import answers, draw, estimate
from winnow.search.methods import unas as module
from winnow.search.methods.unas import generalisation, other_network, unas, unbiased
from winnow.search.recipe import Recipe
from winnow.search.relax import Logits, softmax
from winnow.search.strategy import Run, strategy_of
from winnow.train.evaluate import batch_statistics
from winnow.train.seeds import generator, rng

F32 = torch.float32
TRAIN, VALID = points(6, 1, F32), points(6, 2, F32)


def bench(space=None, **more) -> Bench:
    space = space or smooth(dtype=F32)
    told = {"train": Loader([TRAIN]), "valid": Loader([VALID]), "objective": cross_entropy(space), **more}
    return Bench(space, 5, **told)


def parts_of(monkeypatch, made: Bench, recipe: Recipe, reward=None, **options):
    rows = handed(monkeypatch, module)
    found = unbiased(made, recipe, reward, **options)
    return rows[0], found


def gradient(parts, made: Bench, logits: Logits) -> Tensor:
    return parts.gradient(made.space, logits, softmax, made.objective, TRAIN, VALID, None)


@pytest.mark.parametrize(
    ("epochs", "options", "warmup"),
    [(100, {}, 15), (50, {}, 8), (10, {}, 2), (4, {}, 1), (3, {}, 0), (100, {"warmup": 0}, 0), (10, {"warmup": 7}, 7)],
)
def test_weights_train_alone_for_15_epochs_of_100_unless_told_otherwise(monkeypatch, epochs, options, warmup):
    rows = []
    monkeypatch.setattr(module, "unbiased", lambda bench, recipe, reward, **own: rows.append((reward, own)))
    unas(bench(), Recipe(epochs=epochs), **options)
    ((reward, told),) = rows
    assert (reward, told.pop("warmup")) == (None, warmup)
    drawing = {"draws": "example", "temperature": 0.4, "softening": 0.0}
    prices = {"gap": 0.5, "twice": 0.2, "logits_fall": 0.3}
    assert told == {**drawing, **prices, "enough": math.inf, "weight": 0.1, "samples": 100}


def test_logits_begin_equal_and_rest_until_then(monkeypatch):
    row, found = parts_of(monkeypatch, bench(), Recipe(epochs=5), warmup=2, logits_fall=0.7)
    assert [row["parts"](epoch).learn_logits for epoch in range(5)] == [False, False, True, True, True]
    assert all(not vector.any() for vector in row["logits"].values())
    assert row["logits_fall"] == 0.7
    assert row["parts"](3).told is softmax
    assert found.metrics == {}


@pytest.mark.parametrize("options", [{}, {"draws": "example"}, {"draws": "batch"}, {"gap": 0.0, "softening": 0.3}])
def test_a_step_of_the_logits_is_the_estimate_of_the_loss_and_its_gap(monkeypatch, options):
    """One row each of train and valid have an architecture of their own, or all of them one."""
    made, recipe = bench(), Recipe(epochs=4)
    row, _ = parts_of(monkeypatch, made, recipe, warmup=1, **options)
    logits, own = Logits(made.space, generator(1), scale=1.0), options.get("draws", "example") == "example"
    mean = gradient(row["parts"](2), made, logits)
    grads = {name: vector.grad.clone() for name, vector in logits.items()}
    assert all(p.grad is None for p in made.space.parameters())
    for vector in logits.values():
        vector.grad = None
    now = draw(logits, 0.4, generator(5, "draws"), 6 if own else None, options.get("softening", 0.0))
    with batch_statistics(made.space):
        gap = options.get("gap", 0.5)
        soft = generalisation(made.objective, TRAIN, VALID, now.relaxed, gap)
        hard = generalisation(made.objective, TRAIN, VALID, now.hot if own else answers(made.space, now), gap).detach()
    estimate(now, hard, soft).backward()
    assert mean.item() == pytest.approx(hard.mean().item(), rel=1e-5)
    for name, vector in logits.items():
        torch.testing.assert_close(grads[name], vector.grad, rtol=1e-4, atol=1e-6)


def test_weights_step_on_what_the_logits_stepped_on_and_on_draws_of_their_own_before(monkeypatch):
    made = bench()
    row, _ = parts_of(monkeypatch, made, Recipe(epochs=4), warmup=1)
    logits, draws = Logits(made.space, generator(1)), generator(5, "draws")
    early = row["parts"](0).attach(logits, TRAIN)
    for name, weights in draw(logits, 0.4, draws, 6).relaxed.items():
        assert torch.equal(early[name], weights)
    gradient(row["parts"](1), made, logits)
    late, expected = row["parts"](1).attach(logits, TRAIN), draw(logits, 0.4, draws, 6).relaxed
    assert all(torch.equal(late[name], weights) for name, weights in expected.items())
    assert not any(weights.requires_grad for weights in late.values())


def test_for_the_batch_one_architecture_is_drawn(monkeypatch):
    made = bench()
    row, _ = parts_of(monkeypatch, made, Recipe(epochs=4), warmup=1, draws="batch")
    early = row["parts"](0).attach(Logits(made.space, generator(1)), TRAIN)
    assert {tuple(weights.shape) for weights in early.values()} == {(3,)}


@pytest.mark.parametrize(
    ("epochs", "warmup", "shares"),
    [(6, 2, {2: 0.25, 3: 0.5, 5: 1.0, 7: 1.0}), (3, 0, {0: 1 / 3, 1: 2 / 3, 2: 1.0}), (2, 2, {2: 1.0})],
)
@pytest.mark.parametrize(("enough", "counted"), [({}, 2.0), ({"enough": 0.5}, 0.5)])
def test_a_reward_counts_for_more_from_epoch_to_epoch_up_to_what_is_enough(
    monkeypatch, epochs, warmup, shares, enough, counted
):
    """The reward is 2 whatever is drawn, and the control variate says so; less both is what is minimised."""
    made, told = bench(), []

    class Two:
        def __init__(self, *given):
            self.of = lambda arch: 2.0

        def __call__(self, weights):
            return torch.tensor(2.0)

    def noted(drawn, hard, soft):
        told.append((hard, soft))
        return estimate(drawn, hard, soft)

    monkeypatch.setattr(module, "estimate", noted)
    monkeypatch.setattr(module, "Surrogate", Two)
    more = {"samples": 10, "weight": 0.4, **enough}
    row, _ = parts_of(monkeypatch, made, Recipe(epochs=epochs), lambda arch: 2.0, warmup=warmup, **more)
    for epoch, share in shares.items():
        told.clear()
        gradient(row["parts"](epoch), made, Logits(made.space, generator(1)))
        (_, (hard, soft)) = told
        assert hard == pytest.approx(-0.4 * share * counted)
        assert soft.item() == pytest.approx(-0.4 * share * counted)


@pytest.mark.parametrize(("samples", "fitted"), [(10, 8), (9, 7), (5, 4), (2, 1)])
def test_four_fifths_of_the_samples_fit_the_control_variate_and_the_others_tell_its_error(monkeypatch, samples, fitted):
    """One that always says 1, of rewards that are 0, 1, 2, ... as they are asked for."""
    fits, count = [], iter(range(100))

    class Constant:
        def __init__(self, space, architectures, values):
            fits.append((architectures, values))

        def of(self, arch):
            return 1.0

    monkeypatch.setattr(module, "Surrogate", Constant)
    made = bench()
    _, found = parts_of(monkeypatch, made, Recipe(epochs=2), lambda arch: float(next(count)), warmup=0, samples=samples)
    ((architectures, values),) = fits
    assert values == [float(i) for i in range(fitted)]
    draws = rng(5, "surrogate")
    assert architectures == [made.space.decide(lambda d: draws.choice(d.values)) for _ in range(fitted)]
    left = [abs(1.0 - i) for i in range(fitted, samples)]
    assert found.metrics == {"surrogate_error": pytest.approx(sum(left) / len(left))}


def test_the_reward_of_a_latency_is_minus_its_milliseconds_each_measured_once(monkeypatch):
    rows, asked = [], []

    def measured(child, example, **how):
        asked.append((example, how))
        return SimpleNamespace(median=7.0 + len(asked))

    monkeypatch.setattr(module, "measured_ms", measured)
    monkeypatch.setattr(module, "unbiased", lambda bench, recipe, reward, **own: rows.append((reward, own)))
    space = smooth()
    space.example = (2,)
    unas(bench(space), Recipe(epochs=2), latency_ms=3.0, reward_weight=0.7, reward_samples=9)
    ((reward, told),) = rows
    assert (told["enough"], told["weight"], told["samples"]) == (-3.0, 0.7, 9)
    one, other = space.decide(lambda d: d.values[0]), space.decide(lambda d: d.values[1])
    assert [reward(arch) for arch in (one, other, one)] == [-8.0, -9.0, -8.0]
    assert asked == [((2,), {"device": torch.device("cpu"), "warmup": 2, "repeats": 11})] * 2


def test_a_latency_needs_to_know_what_a_network_takes():
    with pytest.raises(Refused, match="latency_ms needs a space that was built for some input"):
        unas(bench(numbers()), Recipe(epochs=2), latency_ms=3.0)


@pytest.mark.parametrize(
    ("space", "options", "objects"),
    [("darts", {"latency_ms": 3.0}, True), ("darts", {}, False), ("factorised", {"latency_ms": 3.0}, False)],
)
def test_a_latency_of_darts_would_be_that_of_another_network(space, options, objects):
    told = other_network(Run(space, "fp32"), **options)
    assert (told is not None) is objects
    assert not objects or told.startswith("latency_ms: unas draws operations and not which two inputs")


def test_what_winnow_knows_of_it():
    record = strategy_of(unas)
    assert record.leaves == {"logits", "mixture", "children", "distribution"}
    assert record.objection is other_network
    assert record.short == {"warmup": 0, "latency_ms": None}
    assert not record.shared
