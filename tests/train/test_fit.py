"""train.fit: what a recipe says happens, checked against the formulas and against plain loops."""

import copy
import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from winnow.core.errors import Refused
from winnow.nn.drop_path import DropPath
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.train import checkpoint
from winnow.train.checkpoint import Keeper
from winnow.train.fit import autocast, fit
from winnow.train.packing import from_bytes, to_bytes
from winnow.train.recipes import RECIPES, Recipe
from winnow.train.seeds import materialise
from winnow.train.watch import Watch

PLAIN = replace(
    RECIPES["quick"], epochs=2, lr=0.1, momentum=0.0, nesterov=False, weight_decay=0.0, warmup_epochs=0, clip=None
)


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, 8, 8, generator=generator), torch.randint(3, (count,), generator=generator)


BATCHES = [images(8, seed) for seed in range(3)]


def network(seed: int = 0, *, drop: bool = False) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        layers = [
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            *([DropPath(), nn.Dropout(0.2)] if drop else []),
        ]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def child(auxiliary: bool) -> nn.Module:
    facts = {"classes": 3, "image_channels": 1, "final": True, "auxiliary": auxiliary}
    with torch.device("meta"):
        space = build("darts", {"channels": 4, "layers": 3}, **facts)
        made = space.derive(space.decide(lambda d: d.values[-1]))
    return materialise(made, "cpu", 0)


class Kept(Watch):
    """What fit tells, and what `look` finds at every step and epoch."""

    def __init__(self, look=lambda: None):
        self.look = look
        self.steps: list = []
        self.epochs: list[dict[str, float]] = []
        self.at_epochs: list = []

    def step(self, steps: int = 1) -> None:
        self.steps.append(self.look())

    def epoch(self, epoch: int, metrics: Mapping[str, float], weights: Mapping[str, Tensor] | None = None) -> None:
        assert epoch == len(self.epochs)
        self.epochs.append(dict(metrics))
        self.at_epochs.append(self.look())


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# the loop


def test_it_is_the_plain_loop():
    model, oracle = network(), network()
    recipe = replace(PLAIN, momentum=0.9, nesterov=True, weight_decay=0.01, clip=0.5)
    watch = Kept()
    kept = fit(model, BATCHES, recipe, IMAGES, seed=0, watch=watch)
    assert kept is model
    assert not any(m.training for m in model.modules())
    optimiser = torch.optim.SGD(oracle.parameters(), 0.1, 0.9, weight_decay=0.01, nesterov=True)
    losses, right = [], 0
    for step in range(6):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / 6)) / 2
        x, y = BATCHES[step % 3]
        optimiser.zero_grad()
        scores = oracle(x)
        loss = F.cross_entropy(scores, y)
        loss.backward()
        nn.utils.clip_grad_norm_(oracle.parameters(), 0.5)
        optimiser.step()
        losses.append(loss.item())
        right += int((scores.argmax(1) == y).sum()) if step >= 3 else 0
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, oracle.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert [told["loss"] for told in watch.epochs] == pytest.approx(
        [sum(losses[:3]) / 3, sum(losses[3:]) / 3], rel=1e-4
    )
    assert watch.epochs[1]["accuracy"] == pytest.approx(100 * right / 24)
    assert len(watch.steps) == 6


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_rates_rise_linearly_and_fall_by_a_cosine(warmup):
    rates: list[float] = []
    handle = register_optimizer_step_pre_hook(lambda optimiser, *_: rates.append(optimiser.param_groups[0]["lr"]))
    watch = Kept()
    try:
        recipe = replace(PLAIN, epochs=5, lr=0.4, lr_min=0.04, warmup_epochs=warmup)
        fit(network(), BATCHES, recipe, IMAGES, seed=0, watch=watch)
    finally:
        handle.remove()
    rise, total = 3 * warmup, 15
    expected = [0.4 * (step + 1) / (rise + 1) for step in range(rise)]
    fall = [(1 + math.cos(math.pi * step / (total - rise))) / 2 for step in range(total - rise)]
    expected += [0.04 + 0.36 * share for share in fall]
    assert rates == pytest.approx(expected)
    assert [told["lr"] for told in watch.epochs] == pytest.approx(rates[2::3])


def test_a_run_that_is_all_warm_up():
    fit(network(), BATCHES, replace(PLAIN, epochs=1, warmup_epochs=3), IMAGES, seed=0, watch=Watch())


def test_adamw_runs_and_decays_apart_from_the_gradient():
    model, oracle = network(), network()
    fit(model, BATCHES, replace(PLAIN, optimiser="adamw", epochs=1, weight_decay=0.5), IMAGES, seed=0, watch=Watch())
    optimiser = torch.optim.AdamW(oracle.parameters(), weight_decay=0.5)
    for step, (x, y) in enumerate(BATCHES):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / 3)) / 2
        optimiser.zero_grad()
        F.cross_entropy(oracle(x), y).backward()
        optimiser.step()
    torch.testing.assert_close(model.state_dict(), oracle.state_dict(), rtol=1e-3, atol=1e-5)


# the loss


def test_label_smoothing_is_in_the_loss():
    model, (x, y) = network(), BATCHES[0]
    chances = copy.deepcopy(model)(x).detach().log_softmax(1)
    target = 0.7 * F.one_hot(y, 3) + 0.3 / 3
    watch = Kept()
    fit(model, [(x, y)], replace(PLAIN, epochs=1, label_smoothing=0.3), IMAGES, seed=0, watch=watch)
    assert watch.epochs[0]["loss"] == pytest.approx(float(-(target * chances).sum(1).mean()), rel=1e-5)


@pytest.mark.parametrize("weight", [0.4, 2.0])
def test_the_auxiliary_loss_is_added_with_its_weight(weight):
    model, (x, y) = child(auxiliary=True), images(4)
    scores, second = copy.deepcopy(model).train()(x)
    expected = F.cross_entropy(scores, y) + weight * F.cross_entropy(second, y)
    watch = Kept()
    before = state(model)
    kept = fit(model, [(x, y)], replace(PLAIN, epochs=1, auxiliary=weight), IMAGES, seed=0, watch=watch)
    assert watch.epochs[0]["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert watch.epochs[0]["accuracy"] == pytest.approx(100 * float((scores.argmax(1) == y).double().mean()))
    learned = [name for name in before if name.startswith("auxiliary.") and "weight" in name]
    assert learned
    assert not any(torch.equal(before[name], kept.state_dict()[name]) for name in learned)
    assert kept(x).shape == (4, 3)  # one output again where it is used


def test_a_loss_that_explodes_is_refused_with_step_and_rate():
    batches = [BATCHES[0], (BATCHES[1][0] * math.nan, BATCHES[1][1])]
    with pytest.raises(Refused, match=r"loss is nan at epoch 0, step 1, with learning rate 0.0\d+: lower retrain.lr"):
        fit(network(), batches, PLAIN, IMAGES, seed=0, watch=Watch())


# what grows or is averaged over the epochs


def test_drop_path_grows_linearly_with_the_epochs():
    model = network(drop=True)
    drop = next(m for m in model.modules() if isinstance(m, DropPath))
    watch = Kept(lambda: drop.rate)
    fit(model, BATCHES, replace(PLAIN, epochs=4, drop_path=0.2), IMAGES, seed=0, watch=watch)
    assert watch.steps == pytest.approx([0.0] * 3 + [0.05] * 3 + [0.1] * 3 + [0.15] * 3)


def test_drop_path_spares_identities():
    with torch.device("meta"):
        space = build("darts", {"channels": 4, "layers": 3}, classes=3, image_channels=1, final=True)
    for option, drops in (("skip_connect", 0), ("sep_conv_3x3", 8), ("max_pool_3x3", 8)):
        cell = space.derive(space.decide(lambda d, option=option: option if d.pick == 1 else d.values[0])).cells[0]
        assert sum(isinstance(m, DropPath) for m in cell.modules()) == drops


def test_the_average_is_the_hand_computed_one():
    model = network()
    recipe = replace(PLAIN, ema=0.8)
    watch = Kept(lambda: state(model))
    kept = fit(model, BATCHES, recipe, IMAGES, seed=0, watch=watch)
    assert kept is not model
    average = watch.steps[0]  # starts as the weights after the first step
    for later in watch.steps[1:]:
        average = {
            name: 0.8 * tensor + 0.2 * later[name] if tensor.is_floating_point() else later[name]
            for name, tensor in average.items()
        }
    for name, tensor in kept.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, average[name], rtol=1e-5, atol=1e-7)
    assert not any(m.training for m in kept.modules())
    assert same(state(model), watch.steps[-1])


# seeds, precision


def test_the_same_seed_gives_the_same_bytes_and_another_does_not():
    recipe = replace(PLAIN, drop_path=0.3, epochs=3)

    def trained(seed: int) -> dict[str, Tensor]:
        return state(fit(network(drop=True), BATCHES, recipe, IMAGES, seed=seed, watch=Watch()))

    first = trained(0)
    torch.rand(3)  # what happens outside is of no account
    assert same(first, trained(0))
    assert not same(first, trained(1))


def test_the_global_stream_is_as_before():
    before = torch.get_rng_state()
    fit(network(drop=True), BATCHES, PLAIN, IMAGES, seed=0, watch=Watch())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "schedule", ["cosine", *(pytest.param(each, marks=pytest.mark.slow) for each in ("linear", "steps"))]
)
def test_it_goes_on_from_any_step(monkeypatch, schedule):
    """Average, drop-path, second classifier, warm-up and curve: left after each step, it ends in the same bytes."""
    monkeypatch.setattr(checkpoint, "MOST", math.inf)
    options = {"ema": 0.9, "drop_path": 0.3, "auxiliary": 0.4, "label_smoothing": 0.1, "clip": 0.5, "warmup_epochs": 1}
    recipe = replace(PLAIN, momentum=0.9, precision="bf16", **options, schedule=schedule, decay=0.5)

    def trained(keeper: Keeper) -> tuple[dict[str, Tensor], list]:
        watch, model = Kept(), child(auxiliary=True)
        watch.state, watch.restore = (
            lambda: {"epochs": watch.epochs},
            lambda state: watch.epochs.extend(state["epochs"]),
        )
        return state(fit(model, BATCHES, recipe, IMAGES, seed=0, watch=watch, keeper=keeper)), watch.epochs

    saved: list[bytes] = []
    weights, curve = trained(Keeper(lambda state: saved.append(to_bytes(state))))
    assert len(saved) == 6
    for each in saved:
        again, rows = trained(Keeper(found=from_bytes(each)))
        assert same(weights, again)
        assert rows == curve


def test_bf16_trains_close_to_fp32_and_keeps_fp32_weights():
    seen: set[torch.dtype] = set()
    losses = {}
    for precision in ("fp32", "bf16"):
        model, watch = network(), Kept()
        model[0].register_forward_hook(lambda module, x, y: seen.add(y.dtype))
        fit(model, BATCHES, replace(PLAIN, precision=precision), IMAGES, seed=0, watch=watch)
        losses[precision] = watch.epochs[-1]["loss"]
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert seen == {torch.float32, torch.bfloat16}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)


def test_the_loss_is_computed_in_full_precision():
    """bfloat16 has eight bits: a loss taken in it would be a multiple of 1/128 around 1."""
    model, (x, y) = network(), BATCHES[0]
    with autocast("cpu", "bf16"):
        scores = copy.deepcopy(model)(x)
    assert scores.dtype == torch.bfloat16
    watch = Kept()
    fit(model, [(x, y)], replace(PLAIN, epochs=1, precision="bf16"), IMAGES, seed=0, watch=watch)
    assert watch.epochs[0]["loss"] == pytest.approx(F.cross_entropy(scores.float(), y).item(), rel=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name):
    recipe = replace(RECIPES[name], epochs=1, ema=0.99)
    watch = Kept()
    fit(child(recipe.needs_auxiliary), [images(4)], recipe, IMAGES, seed=0, watch=watch)
    assert math.isfinite(watch.epochs[0]["loss"])


def test_recipes_carry_the_published_numbers():
    darts = RECIPES["darts_cifar10"]
    assert darts == Recipe(600, 96, "sgd", 0.025, 0.0, 0.9, False, 3e-4, 0, 5.0, 0.0, 0.2, 16, 0.4, None, "fp32")
    names = (
        "epochs",
        "batch",
        "lr",
        "nesterov",
        "weight_decay",
        "warmup_epochs",
        "label_smoothing",
        "clip",
        "schedule",
    )
    published = {
        "nas_bench_201": (200, 256, 0.1, True, 5e-4, 0, 0.0, None, "cosine"),
        "darts_imagenet": (250, 128, 0.1, False, 3e-5, 0, 0.1, 5.0, "steps"),
        "sgas_imagenet": (250, 1024, 0.5, False, 3e-5, 5, 0.1, 5.0, "linear"),
        "setn_cifar": (300, 96, 0.025, True, 5e-4, 5, 0.0, 5.0, "cosine"),
        "unas_cifar": (600, 128, 0.05, False, 3e-4, 30, 0.0, 5.0, "cosine"),
        "spos_imagenet": (240, 1024, 0.5, False, 4e-5, 0, 0.1, None, "linear"),
    }
    for name, numbers in published.items():
        assert tuple(getattr(RECIPES[name], field) for field in names) == numbers
    assert RECIPES["darts_imagenet"].decay == 0.97


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_device_repeats_to_the_bit_with_the_auxiliary_head(precision):
    torch.use_deterministic_algorithms(True)
    try:
        recipe = replace(PLAIN, auxiliary=0.4, drop_path=0.2, ema=0.9, precision=precision)
        batches = [tuple(tensor.cuda() for tensor in images(8, seed)) for seed in range(3)]
        runs = (fit(child(auxiliary=True).cuda(), batches, recipe, IMAGES, seed=0, watch=Watch()) for _ in range(2))
        states = list(map(state, runs))
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(*states)


@pytest.mark.gpu
def test_the_device_agrees_with_the_cpu():
    told = {}
    for device in ("cpu", "cuda"):
        batches = [tuple(tensor.to(device) for tensor in batch) for batch in BATCHES]
        watch = Kept()
        fit(network().to(device), batches, PLAIN, IMAGES, seed=0, watch=watch)
        told[device] = watch.epochs[-1]["loss"]
    assert told["cuda"] == pytest.approx(told["cpu"], rel=1e-2)
