"""search.methods.darts: the published settings, repeatability, and what its optimum is known to be."""

import pytest
import torch
from torch import nn

from tests.judging import cross_entropy
from tests.search.planted import bench_of, split_options
from tests.search.toys import Loader, Recorded, cells, images, logits_of, snapshot
from winnow.config.methods import strategy
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.nn.ops import Zero
from winnow.search.bench import Bench
from winnow.search.gradients import first_order
from winnow.search.methods.darts import darts
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.train.optimisers import sgd

BATCHES = [images(8, seed) for seed in range(3)]


def searched(seed: int = 0, *, precision: str = "fp32", **options):
    space, watch = cells(), Recorded()
    recipe, own = split_options({"epochs": 2, "lr": 0.1, **options})
    bench = Bench(
        space,
        seed,
        objective=cross_entropy(space, precision),
        train=Loader(BATCHES),
        valid=Loader(BATCHES[::-1]),
        watch=watch,
    )
    return space, darts(bench, recipe, **own).logits, watch


def test_the_defaults_are_the_published_search():
    assert Recipe().epochs == 50
    assert strategy("darts").options()["order"][1] == "first"
    published = {"lr": 0.025, "lr_min": 0.001, "momentum": 0.9, "weight_decay": 3e-4, "clip": 5.0}
    published |= {"logits_lr": 3e-4, "logits_weight_decay": 1e-3}
    _, unsaid, _ = searched(lr=0.025)
    _, said, _ = searched(**published)
    assert all(torch.equal(unsaid[name], said[name]) for name in said)


@pytest.mark.parametrize("order", ["first", "second"])
def test_the_same_seed_gives_the_same_bytes(order):
    (one, a, _), (again, b, _), (_, c, _) = (searched(seed, order=order) for seed in (0, 0, 1))
    states = one.state_dict(), again.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not any(torch.equal(a[name], c[name]) for name in a)


def test_the_second_order_is_another_search():
    first, second = (searched(order=order)[1] for order in ("first", "second"))
    assert not any(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.allclose(first[name], second[name], atol=1e-2) for name in first)


def test_the_rate_goes_by_the_epoch_from_lr_to_lr_min():
    _, _, watch = searched(epochs=4, lr=0.1, lr_min=0.02)
    assert [told["lr"] for told in watch.epochs] == pytest.approx([0.1, 0.08828427, 0.06, 0.03171573])


def test_bf16_searches_too():
    space, logits, watch = searched(precision="bf16", epochs=1)
    assert all(vector.dtype == torch.float32 and vector.isfinite().all() for vector in logits.values())
    assert all(w.dtype == torch.float32 for w in space.parameters())
    assert watch.epochs[0]["train_loss"] == pytest.approx(searched(epochs=1)[2].epochs[0]["train_loss"], rel=0.05)


def test_a_mixture_learns_what_separates_the_classes():
    """One candidate destroys the image; the logits find the other within a few epochs."""
    x, y = torch.randn(48, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(48) % 3
    x += 2 * (y - 1)[:, None, None, None]
    blind, sees = nn.Sequential(nn.Conv2d(1, 4, 1), Zero(1)), nn.Conv2d(1, 4, 1)
    layers = [Choice("eye", {"blind": blind, "sees": sees}), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        space = Space(nn.Sequential(*layers))
        for parameter in space.parameters():
            nn.init.normal_(parameter, std=0.5)
    bench = bench_of(space, Loader([(x[:24], y[:24])]), Loader([(x[24:], y[24:])]))
    logits = darts(bench, Recipe(epochs=20, lr=0.1, logits_lr=0.1)).logits
    assert float(logits["eye"].detach().diff()) > 1.0


def test_the_optimal_mixture_of_a_poor_operation_and_a_good_skip_is_the_theorys():
    """Wang et al. 2021, proposition 1: the weight of `conv` is (A - C) / (A + B - 2 C)."""
    generator = torch.Generator().manual_seed(0)
    m, of_x, of_o = torch.randn(3, 20_000, generator=generator, dtype=torch.float64)
    x, o = m + 0.51 * of_x, m + 1.2 * of_o

    class Take(nn.Module):
        def __init__(self, row: int):
            super().__init__()
            self.row, self.unused = row, nn.Parameter(torch.zeros(()))

        def forward(self, pair):
            return pair[self.row]

    space = Space(Choice("edge", {"conv": Take(1), "skip": Take(0)}))
    logits = logits_of(space, scale=0.0).double()
    adam, weights = torch.optim.Adam(logits.parameters(), 0.1), sgd(space.parameters(), 0.1)
    batch = (torch.stack([x, o]), m)
    for _ in range(150):
        adam.zero_grad()
        first_order(
            space,
            logits,
            softmax,
            lambda b, setting: (space(b[0], setting) - b[1]).square().mean(),
            batch,
            batch,
            weights,
        )
        adam.step()
    a, b, c = (x - m).square().mean(), (o - m).square().mean(), ((x - m) * (o - m)).mean()
    conv = float(softmax(logits)["edge"].detach()[0])
    assert conv == pytest.approx(float((a - c) / (a + b - 2 * c)), abs=1e-4)
    assert conv == pytest.approx(0.153, abs=0.01)


@pytest.mark.gpu
@pytest.mark.parametrize("order", ["first", "second"])
def test_a_search_on_the_device_starts_as_on_the_cpu(order):
    told = {}
    for device in ("cpu", "cuda"):
        space, watch = cells().to(device, memory_format=torch.channels_last), Recorded()
        batches = Loader([tuple(tensor.to(device) for tensor in batch) for batch in BATCHES])
        logits = darts(
            space, batches, batches, objective=cross_entropy(space), seed=0, watch=watch, epochs=1, lr=0.01, order=order
        )
        assert {vector.device.type for vector in logits.values()} == {device}
        told[device] = watch.epochs[0]
    for name in told["cpu"]:
        assert told["cuda"][name] == pytest.approx(told["cpu"][name], rel=1e-2)


@pytest.mark.gpu
def test_a_search_on_the_device_repeats_to_the_bit():
    torch.use_deterministic_algorithms(True)
    try:
        states = []
        for _ in range(2):
            space = cells("darts").to("cuda", memory_format=torch.channels_last)
            batches = Loader([tuple(tensor.to("cuda") for tensor in batch) for batch in BATCHES])
            darts(space, batches, batches, objective=cross_entropy(space), seed=0, watch=Recorded(), epochs=1)
            states.append(snapshot(space))
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
