"""Strategies that train several children a batch: fair, sandwich, ofa. Resuming at every step is in test_resume.py."""

import copy
import itertools
from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.judging import cross_entropy
from tests.search.planted import bench_of, data, split_options
from tests.search.toys import Loader, Recorded, snapshot
from tests.splits import image_split
from winnow.core.choosers import uniform
from winnow.core.decision import Number
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.data.loaders import Split
from winnow.holes.depth import Depth
from winnow.holes.elastic import Conv, Norm
from winnow.search.methods import fair as fair_module
from winnow.search.methods import ofa as ofa_module
from winnow.search.methods.fair import Turns, fair
from winnow.search.methods.ofa import corners, ofa, plan
from winnow.search.methods.sandwich import sandwich
from winnow.search.methods.spos import spos
from winnow.search.recipe import Recipe
from winnow.search.several import Quiet, largest, smallest
from winnow.spaces import build
from winnow.train.seeds import rng, seeded

PLAIN = Recipe(epochs=1, lr=0.1, lr_min=0.0, momentum=0.0, weight_decay=0.0, clip=1e9)


def chain(*counts: int, seed: int = 0) -> Space:
    """A stem, choices of so many linear candidates, a head, in float64; x is (batch, 4), three classes."""
    with seeded(seed):
        layers = [Choice(f"c{i}", {f"o{j}": nn.Linear(4, 4) for j in range(n)}) for i, n in enumerate(counts)]
        return Space(nn.Sequential(nn.Linear(4, 4), *layers, nn.Tanh(), nn.Linear(4, 3)).double())


def elastic(seed: int = 0, dropout: float = 0.0) -> Space:
    """A stem, three residual-free blocks of open kernel, ratio and depth, a head; for the planted images."""

    def block(name: str) -> nn.Module:
        ratio, kernel = Number.open(f"{name}/ratio", (1, 2, 3)), Number.open(f"{name}/kernel", (1, 3))
        middle = ratio.map(lambda r: 4 * r)
        layers = [Conv(8, middle), Norm(middle), nn.ReLU(), Conv(middle, middle, kernel, depthwise=True), Norm(middle)]
        return nn.Sequential(*layers, nn.ReLU(), Conv(middle, 8), nn.BatchNorm2d(8))

    with seeded(seed):
        body = Depth("u/depth", [block(f"u/b{i}") for i in range(3)], (1, 2, 3))
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(8, 4)]
        return Space(nn.Sequential(nn.Conv2d(4, 8, 1), body, *head))


def points(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=draws).double(), torch.randint(3, (count,), generator=draws)


def split() -> Split:
    """The planted images, as a split holds them."""
    x, y = (torch.cat(part) for part in zip(*data().batches, strict=True))
    pixels = (x * 30 + 128).clamp(0, 255).to(torch.uint8)
    return image_split(pixels, y, "abcd", mean=(0.5,) * 4, std=(0.118,) * 4)


class Followed:
    """An objective that remembers the architectures it was asked for."""

    def __init__(self, space: Space):
        self.space, self.paths = space, []

    def __call__(self, batch, setting):
        self.paths.append(setting)
        return F.cross_entropy(self.space(batch[0], setting), batch[1])


def gradients(space: Space) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in space.named_parameters() if p.grad is not None}


def test_every_candidate_of_every_layer_is_trained_equally_often_after_every_step():
    space = chain(3, 3, 3)
    objective = Followed(space)
    bench = replace(bench_of(space, Loader([points(5, i) for i in range(4)]), ()), objective=objective)
    fair(bench, replace(PLAIN, epochs=3))
    assert len(objective.paths) == 3 * 4 * 3
    for step in range(1, 13):
        for name in space.decisions:
            counts = Counter(path[name] for path in objective.paths[: 3 * step])
            assert set(counts.values()) == {step}


def test_choices_of_layers_are_independent_of_each_other():
    turns = Turns(chain(3, 3), rng(0, "x"))
    pairs = Counter(tuple(turns.path().values()) for _ in range(9000))
    expected = 9000 / 9
    assert sum((n - expected) ** 2 / expected for n in pairs.values()) < 26.1  # chi-squared, 8 degrees, p = 0.001


def test_layers_with_different_numbers_of_candidates_stay_within_one():
    space = chain(2, 3, 5, 1)
    turns, counts = Turns(space, rng(0, "x")), {name: Counter() for name in space.decisions}
    assert turns.paths == 5
    for _ in range(200):
        for name, option in turns.path().items():
            counts[name][option] += 1
        for name, d in space.decisions.items():
            each = [counts[name][option] for option in d.options]
            assert max(each) - min(each) <= 1


@pytest.mark.parametrize(("gradient", "share"), [("sum", 1.0), ("mean", 1 / 3)])
def test_a_candidate_gets_the_gradient_of_its_path_and_the_stem_that_of_all(gradient, share, monkeypatch):
    space, batch = chain(3, 3), points(7)
    alone, objective = copy.deepcopy(space), Followed(space)
    bench = replace(bench_of(space, Loader([batch]), ()), objective=objective)
    before = snapshot(space)
    fair(bench, PLAIN, gradient=gradient)
    moved = {name: (before[name] - p) / 0.1 for name, p in space.named_parameters()}
    expected = {name: torch.zeros_like(p) for name, p in alone.named_parameters()}
    for path in objective.paths:
        alone.zero_grad()
        Followed(alone)(batch, path).backward()
        for name, grad in gradients(alone).items():
            expected[name] += share * grad
    for name, grad in expected.items():
        torch.testing.assert_close(moved[name], grad, rtol=1e-9, atol=1e-9)
        assert grad.any(), "every candidate was on one path"


def test_fair_counts_where_uniform_paths_scatter():
    def spread(method) -> float:
        space = chain(6)
        objective = Followed(space)
        batches = Loader([points(2, i) for i in range(10 if method is spos else 5)])
        method(replace(bench_of(space, batches, ()), objective=objective), replace(PLAIN, epochs=6))
        counts = Counter(path["c0"] for path in objective.paths)
        return max(counts.values()) - min(counts.get(f"o{i}", 0) for i in range(6))

    assert (spread(fair), spread(spos) > 2) == (0, True)


def test_a_decision_with_more_answers_than_a_batch_can_train_is_refused(monkeypatch):
    monkeypatch.setattr(fair_module, "MOST", 4)
    with pytest.raises(Refused, match="'c1' has 5: it takes up to 4; search this space with spos or sandwich"):
        Turns(chain(2, 5), rng(0, "x"))


def test_a_sandwich_sums_the_largest_by_labels_and_the_others_by_what_it_says():
    space, batch = elastic().double(), data().batches[0]
    batch = (batch[0].double(), batch[1])
    alone = copy.deepcopy(space)
    drawn = rng(3, "paths")
    others = [alone.decide(uniform(drawn)) for _ in range(2)]
    before = snapshot(space)
    momentum_less = replace(PLAIN, momentum=0.0)
    sandwich(bench_of(space, Loader([batch]), (), seed=3), momentum_less)
    x, y = batch
    taught = alone(x, alone.decide(largest)).float()
    F.cross_entropy(taught, y).backward()
    for arch in (*others, alone.decide(smallest)):
        F.cross_entropy(alone(x, arch).float(), taught.detach().softmax(1)).backward()
    for name, p in alone.named_parameters():
        torch.testing.assert_close((before[name] - space.get_parameter(name)) / 0.1, p.grad, rtol=1e-6, atol=1e-8)


def test_only_the_largest_drops_out():
    space = elastic(dropout=0.9)
    dropped = []
    layer = next(m for m in space.modules() if isinstance(m, nn.Dropout))
    layer.register_forward_hook(lambda m, inputs, output: dropped.append(m.training))
    sandwich(bench_of(space, Loader([data().batches[0]]), ()), PLAIN, between=3)
    assert dropped == [True, False, False, False, False]
    assert layer.training
    with Quiet(space)():
        assert not layer.training


def test_a_loss_that_shows_no_outputs_teaches_nobody():
    space = elastic()
    bench = replace(bench_of(space, data(), ()), objective=Followed(space))
    for method in (sandwich, ofa):
        with pytest.raises(Refused, match="networks learn from networks"):
            method(bench, PLAIN)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        (fair, {"first", "last"}),
        (sandwich, {"largest", "smallest", "random_1", "random_2"}),
        (ofa, set(corners(elastic()))),
    ],
)
def test_networks_of_all_sizes_are_judged_after_every_epoch_and_judging_changes_nothing(method, names):
    finals = []
    for judged in (split(), None):
        space, watch = elastic(), Recorded()
        bench = bench_of(space, data(seed=1), (), watch=watch, splits={"weights": split()}, judged=judged)
        recipe, _ = split_options({"epochs": 7, "lr": 0.1, "lr_min": 0.0, "weight_decay": 0.0})
        with seeded(0):
            method(bench, recipe)
        finals.append(space.state_dict())
        told = {f"accuracy_{name}" for name in names} if judged else set()
        assert [set(row) - {"train_loss", "lr"} for row in watch.epochs] == [told] * 7
        if judged:
            last = watch.epochs[-1]
    assert all(torch.equal(finals[0][name], finals[1][name]) for name in finals[0])
    assert all(0 <= last[f"accuracy_{name}"] <= 100 for name in names)


@pytest.mark.parametrize("method", [sandwich, ofa])
def test_largest_and_smallest_both_learn(method):
    space, watch = elastic(), Recorded()
    bench = bench_of(space, data(seed=1), (), watch=watch, splits={"weights": split()}, judged=split())
    with seeded(0):
        method(bench, Recipe(epochs=18, lr=0.1, lr_min=0.0, weight_decay=0.0))
    assert watch.epochs[-1]["accuracy_largest"] > 80
    assert watch.epochs[-1]["accuracy_smallest"] > 60


def test_phases_are_the_published_ones():
    with torch.device("meta"):
        space = build("ofa", {}, classes=10, image_channels=3, image_size=224)
    phases = plan(space, 590)
    told = [(p.name, p.end - p.first, p.children, round(p.rate * ofa_module.BASE, 6)) for p in phases]
    assert told == [
        ("full", 180, 1, 0.08125),
        ("kernel", 120, 1, 0.03),
        ("depth 2", 25, 2, 0.0025),
        ("depth 3", 120, 2, 0.0075),
        ("ratio 2", 25, 4, 0.0025),
        ("ratio 3", 120, 4, 0.0075),
    ]
    counts = [space.within(phase.live).count() for phase in phases]
    depths = [3 ** (4 * 5), (3**3 + 3**4) ** 5, (3**2 + 3**3 + 3**4) ** 5]
    assert counts[:4] == [1, *depths]
    assert counts[4:] == [(6**2 + 6**3 + 6**4) ** 5, 7371**5]
    assert [(p.first, p.end) for p in plan(space, 7)] == [(0, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 7)]
    with pytest.raises(Refused, match="has 6 phases here: epochs takes that many or more, not 5"):
        plan(space, 5)


def test_a_phase_trains_its_networks_by_answers_and_by_the_largest_as_it_was(monkeypatch):
    """One batch an epoch, so that each step is a phase; no momentum, so that each is alone."""
    space, batch = elastic().double(), data().batches[0]
    batch = (batch[0].double(), batch[1])
    asked, states, real = [], [], Space.decide

    class Steps(Recorded):
        def epoch(self, epoch, metrics, weights=None):
            super().epoch(epoch, metrics, weights)
            states.append((copy.deepcopy(space), metrics["lr"]))

    monkeypatch.setattr(ofa_module, "uniform", lambda draws: lambda d: asked.append(d) or draws.choice(d.values))
    assert [p.children for p in plan(space, 6)] == [1, 1, 2, 2, 4, 4]
    bench = bench_of(space, Loader([batch]), (), seed=3, watch=Steps())
    ofa(bench, replace(PLAIN, epochs=6), sort=False, kd=0.5)
    assert {d.options for d in asked if d.name.endswith("ratio")} == {(3,), (2, 3), (1, 2, 3)}
    before, after = states[0][0], states[1][0]
    rate, draws = states[1][1], rng(3, "paths")
    view = before.within(plan(space, 6)[1].live)
    teacher = copy.deepcopy(before)
    with torch.no_grad():
        told = teacher(batch[0], real(teacher, largest)).float()
    said = before(batch[0], real(view, uniform(draws))).float()
    (F.cross_entropy(said, batch[1]) + 0.5 * F.cross_entropy(said, told.softmax(1))).backward()
    for name, p in before.named_parameters():
        moved = (p - after.get_parameter(name)) / rate
        expected = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(moved, expected, rtol=1e-6, atol=1e-7)


def test_channels_are_sorted_as_widths_open_and_the_networks_there_are_stay(monkeypatch):
    space, seen = elastic(), []
    real = ofa_module.sort_channels

    def followed(view: Space) -> None:
        x = data().batches[0][0]
        archs = [view.decide(choose) for choose in (largest, smallest)]
        with torch.no_grad():
            space.eval()
            before = [space(x, arch) for arch in archs]
            real(view)
            seen.append(next(d.options for d in view.decisions.values() if d.name.endswith("ratio")))
            for arch, was in zip(archs, before, strict=True):
                torch.testing.assert_close(space(x, arch), was, rtol=0, atol=1e-5)
            space.train()

    monkeypatch.setattr(ofa_module, "sort_channels", followed)
    ofa(bench_of(space, data(), ()), Recipe(epochs=6, lr=0.05))
    assert seen == [(3,), (2, 3)]


def test_each_phase_is_a_run_of_its_own():
    rows = Recorded()
    ofa(bench_of(elastic(), data(), (), watch=rows), Recipe(epochs=18, lr=0.08, lr_min=0.0), judge=False)
    starts = [phase.first for phase in plan(elastic(), 18)]
    rates = [row["lr"] for row in rows.epochs]
    assert all(b < a for i, (a, b) in enumerate(itertools.pairwise(rates), 1) if i not in starts)
    assert rates[starts[1]] > rates[starts[1] - 1]
    assert rates[-1] < 0.08 * 0.0923


@pytest.mark.parametrize("choice", [{"pick": 2, "of": range(3)}, {"pick": 1, "of": "ab"}])
def test_what_is_no_size_does_not_shrink(choice):
    space = Space(nn.Sequential(Choice("a", {o: nn.Linear(4, 4) for o in choice["of"]}, pick=choice["pick"])))
    with pytest.raises(Refused, match=r"opens sizes, .* and 'a' takes .*: search this space with spos"):
        plan(space, 10)


def test_learning_is_the_same_loss_as_ever():
    space, batch = chain(2, 2).float(), points(6)
    batch = (batch[0].float(), batch[1])
    arch = space.decide(smallest)
    assert torch.equal(cross_entropy(space)(batch, arch), F.cross_entropy(space(batch[0], arch), batch[1]))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_falls_within_an_epoch_and_down_to_its_least_at_the_end_of_each_phase(schedule):
    recipe, phases = Recipe(epochs=18, lr=0.08, lr_min=0.0008, schedule=schedule), plan(elastic(), 18)
    shares = [ofa_module.rate(phases, recipe, 4, step) for step in range(18 * 4 + 1)]
    for phase in phases:
        own = shares[4 * phase.first : 4 * phase.end]
        assert own[0] == pytest.approx(phase.rate)
        assert all(b < a for a, b in itertools.pairwise(own))
        halfway = (phase.end - phase.first) / 2
        if halfway == int(halfway):
            assert own[int(4 * halfway)] == pytest.approx((phase.rate + min(0.01, phase.rate)) / 2)
    assert shares[-1] == pytest.approx(min(0.01, phases[-1].rate))
