"""search.paths: one path a batch; what is off the path keeps every bit."""

import math
import random
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tests.judging import cross_entropy
from tests.search.planted import bench_of
from tests.search.toys import Loader, Recorded, cells, changed, first, images, loss_of, points, smooth, snapshot
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.methods.spos import spos
from winnow.search.paths import binned_paths, train_paths, uniform_paths
from winnow.search.recipe import Recipe
from winnow.train.optimisers import sgd


def train(space, batches, path, optimiser=None, **options):
    optimiser = optimiser or sgd(space.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    settings = {
        "objective": loss_of(space),
        "epochs": 1,
        "clip": 5.0,
        "schedule": torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0),
    }
    train_paths(space, Loader(batches), path=path, optimiser=optimiser, **{**settings, **options})
    return optimiser


def on_path(space: Space, name: str, arch) -> bool:
    """Whether the parameter or buffer called `name` is used by `arch`: every hole it lies in keeps its part."""
    for path, module in space.named_modules():
        inside = f"{path}.candidates."
        if isinstance(module, Choice) and name.startswith(inside):
            answer = arch.get(module.decision.name)
            kept = answer if isinstance(answer, tuple) else (answer,)
            if name.removeprefix(inside).split(".")[0] not in {str(option) for option in kept}:
                return False
    return True


@pytest.mark.parametrize("name", ["nas_bench_201", "darts", "mobile"])
def test_what_is_off_the_path_keeps_every_bit(name):
    space = cells(name, **({"candidates": "s3"} if name == "darts" else {}))
    optimiser = sgd(space.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    draw = uniform_paths(space, random.Random(0))
    train(space, [images(4, seed) for seed in range(3)], draw, optimiser, objective=cross_entropy(space))
    arch, before = draw(), snapshot(space)
    momentum = {n: optimiser.state[w]["momentum_buffer"].clone() for n, w in space.named_parameters()}
    assert any(bool(buffer.any()) and not on_path(space, n, arch) for n, buffer in momentum.items())
    train(space, [images(4, 9)], lambda: arch, optimiser, objective=cross_entropy(space))
    moved = set(changed(space, before))
    assert moved
    assert all(on_path(space, n, arch) for n in moved)
    assert {n for n, _ in space.named_parameters() if on_path(space, n, arch)} <= moved
    for n, w in space.named_parameters():
        assert torch.equal(optimiser.state[w]["momentum_buffer"], momentum[n]) is (not on_path(space, n, arch))


def test_a_path_is_trained_as_its_child_would_be():
    space = smooth()
    arch = first(space, b="norm")
    child = space.derive(arch)
    batches = [points(8, seed) for seed in range(4)]
    train(space, batches, lambda: arch)
    optimiser = torch.optim.SGD(child.parameters(), 0.1, 0.9, weight_decay=0.1)
    for x, y in batches:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(child.train()(x), y).backward()
        torch.nn.utils.clip_grad_norm_(child.parameters(), 5.0)
        optimiser.step()
    inherited = space.derive(arch).state_dict()
    for name, tensor in child.state_dict().items():
        torch.testing.assert_close(inherited[name], tensor, rtol=1e-10, atol=1e-12)


def test_every_batch_takes_a_new_path():
    space = smooth()
    drawn = []

    def path():
        drawn.append(uniform()["a"])
        return first(space, a=drawn[-1])

    uniform = uniform_paths(space, random.Random(0))
    train(space, [points(8, seed) for seed in range(6)], path, epochs=2)
    assert len(drawn) == 12
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("name", ["nas_bench_201", "mobile", "darts"])
def test_paths_are_uniform(name):
    with torch.device("meta"):
        space = cells(name)
    draw = uniform_paths(space, random.Random(0))
    counts: dict[str, Counter] = {}
    for _ in range(2000):
        for decision, value in draw().items():
            counts.setdefault(decision, Counter())[value] += 1
    assert set(counts) == set(space.decisions)
    chances = [
        chisquare([counts[n][v] for v in d.values]).pvalue for n, d in space.decisions.items() if len(d.values) > 1
    ]
    assert min(chances) > 1e-3 / len(chances)


def test_paths_repeat_with_their_seed():
    space = cells("mobile")

    def drawn(seed: int) -> list[str]:
        draw = uniform_paths(space, random.Random(seed))
        return [draw().digest for _ in range(5)]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


def test_the_rate_falls_linearly_batch_by_batch():
    rates: list[float] = []

    def look(optimiser, args, kwargs):
        rates.append(optimiser.param_groups[0]["lr"])
        assert len({group["lr"] for group in optimiser.param_groups}) == 1

    space, watch = cells(), Recorded()
    handle = register_optimizer_step_pre_hook(look)
    try:
        bench = bench_of(space, Loader([images(4, seed) for seed in range(3)]), Loader([]), watch=watch)
        spos(bench, Recipe(epochs=2, lr=0.4, lr_min=0.1))
    finally:
        handle.remove()
    assert rates == pytest.approx([0.4 - 0.3 * step / 6 for step in range(6)])
    assert [told["lr"] for told in watch.epochs] == pytest.approx([rates[2], rates[5]])
    assert all(math.isfinite(told["train_loss"]) for told in watch.epochs)


def test_spos_leaves_the_validation_data_alone_and_repeats():
    def trained(seed: int) -> dict[str, torch.Tensor]:
        space, valid = cells(), Loader([images(4)])
        bench = bench_of(space, Loader([images(4, s) for s in range(3)]), valid, seed=seed)
        assert spos(bench, Recipe(epochs=1, lr=0.1)).logits is None
        assert valid.given == 0
        return snapshot(space)

    one, again, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def floats_and_bits() -> tuple[Space, Space]:
    return cells("resnet", seed=1, bits=("w32a32",)), cells("resnet")


def test_a_supernet_of_bits_begins_with_one_of_floats():
    floats, space = floats_and_bits()
    clips = {name: value for name, value in snapshot(space).items() if "clip" in name}
    bench = bench_of(space, Loader([images(4)]), Loader([]), tensors=lambda path: snapshot(floats))
    spos(bench, Recipe(epochs=1, lr=1e-12, lr_min=0.0), pretrained="floats.safetensors")
    begun = space.state_dict()
    for name, tensor in floats.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(begun[name], tensor)
    assert len(clips) == 2 * (2 * 8 + 3)
    assert all(begun[name].item() == pytest.approx(value.item()) for name, value in clips.items())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.pop("model.0.weight"), "it lacks 'model.0.weight'"),
        (lambda t: t.update(odd=torch.ones(1)), "'odd' has no place here"),
        (
            lambda t: t.update({"model.0.weight": torch.ones(2)}),
            r"'model.0.weight' is \(2,\) there, \(4, 1, 7, 7\) here",
        ),
    ],
)
def test_a_supernet_of_another_network_is_refused(change, sentence):
    floats, space = floats_and_bits()
    tensors = snapshot(floats)
    change(tensors)
    bench = bench_of(space, Loader([images(4)]), Loader([]), tensors=lambda path: tensors)
    with pytest.raises(Refused, match=f"search.spos.pretrained: x.pt holds the weights of another network: {sentence}"):
        spos(bench, Recipe(epochs=1), pretrained="x.pt")


def test_spos_decays_matrices_and_kernels_only():
    space = cells()
    seen: dict[float, set[int]] = {}

    def look(optimiser, args, kwargs):
        seen.update({group["weight_decay"]: {w.dim() for w in group["params"]} for group in optimiser.param_groups})

    handle = register_optimizer_step_pre_hook(look)
    try:
        spos(bench_of(space, Loader([images(4)]), Loader([])), Recipe(epochs=1, weight_decay=0.5))
    finally:
        handle.remove()
    assert seen == {0.5: {2, 4}, 0.0: {1}}


def test_a_loss_that_explodes_is_refused():
    space = smooth()
    with pytest.raises(Refused, match=r"epoch 0, step 1, with learning rate 0.1: lower search.lr"):
        train(space, [points(4), (points(4)[0] * math.inf, points(4)[1])], lambda: first(space))


def dice(*sides: int) -> Space:
    """Decisions that are answered by 0, 1, ..., without weights."""
    return Space(
        torch.nn.Sequential(*(Choice(f"d{i}", {k: torch.nn.Identity() for k in range(n)}) for i, n in enumerate(sides)))
    )


def total(arch) -> float:
    return float(sum(arch.values()))


def test_each_bin_of_costs_is_as_likely_however_few_paths_it_has():
    """Of two dice of 0 to 4 a sum of 4 has five pairs, and one of 0 or 8 has one."""
    draw = binned_paths(dice(5, 5), random.Random(0), total, -0.5, 8.5, 9)
    counts = Counter(total(draw()) for _ in range(450))
    assert set(counts) == set(range(9))
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_a_bin_holds_its_ends_and_none_is_left_out():
    draw = binned_paths(dice(10), random.Random(0), total, 2.0, 6.0, 2)
    counts = Counter(total(draw()) for _ in range(1200))
    assert set(counts) == {2, 3, 4, 5, 6}, "4 is in both"
    wanted = [200, 200, 400, 200, 200]
    assert chisquare([counts[i] for i in range(2, 7)], wanted).pvalue > 1e-3


def test_where_a_bin_is_empty_any_path_is_taken_in_the_end():
    draw = binned_paths(dice(2), random.Random(0), lambda arch: 10 * total(arch), 0.0, 30.0, 3)
    drawn = [total(draw()) for _ in range(12)]
    assert set(drawn) == {0, 1}, "nothing costs 20 to 30"


@pytest.mark.parametrize(("low", "high", "fits"), [(3, 3, True), (3.1, 9, False), (-4, -0.1, False), (-4, 0, True)])
def test_costs_that_no_path_has_are_refused_with_those_that_paths_have(low, high, fits):
    space = dice(4)
    if fits:
        assert low <= total(binned_paths(space, random.Random(0), total, low, high, 1)()) <= high
        return
    said = f"none of 1,000 lies between {low:,.0f} and {high:,.0f}; of random ones here most cost 0 to 3 macs"
    with pytest.raises(Refused, match=said):
        binned_paths(space, random.Random(0), total, low, high, 1)


def test_a_path_that_computes_nothing_is_drawn_again():
    space = dice(3, 3)
    space.represent = lambda arch: None if 0 in arch.values() else arch
    draw = uniform_paths(space, random.Random(0))
    assert {tuple(draw().values()) for _ in range(60)} == {(1, 1), (1, 2), (2, 1), (2, 2)}
