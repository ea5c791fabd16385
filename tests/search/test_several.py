"""search.several: several architectures a batch, what is told of them, and what can be switched off."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.judging import cross_entropy
from tests.search.planted import bench_of
from tests.search.toys import Loader, Recorded, loss_of, points, smooth, snapshot
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.nn.drop_path import DropPath
from winnow.search.bench import Bench
from winnow.search.recipe import Recipe
from winnow.search.several import (
    Quiet,
    Still,
    backward,
    descent,
    largest,
    learning,
    on_one_curve,
    smallest,
    train_children,
)
from winnow.tasks.classify import IMAGES
from winnow.tasks.task import Metric


def bench(count: int = 2, **more) -> Bench:
    space = smooth()
    train = Loader([points(6, i) for i in range(count)])
    return bench_of(space, train, (), **{"objective": loss_of(space), **more})


def test_the_smallest_and_the_largest_are_the_ends_of_what_may_be_answered():
    d = Decision("a", ("x", "y", "z", "none"), mixture_only=("none",))
    assert (smallest(d), largest(d)) == ("x", "z")
    d = Decision("a", ("x", "y", "z"), 3, least=1)
    assert (smallest(d), largest(d)) == (("x",), ("x", "y", "z"))


def test_gradients_add_up_and_a_loss_comes_back_as_a_number():
    weight = nn.Parameter(torch.tensor(2.0))
    told = [backward(factor * weight) for factor in (3.0, 5.0)]
    assert weight.grad.item() == 8
    assert [(each.item(), each.requires_grad) for each in told] == [(6, False), (10, False)]


def test_networks_learn_from_networks_only_where_the_objective_shows_what_they_say():
    objective = cross_entropy(smooth())
    assert learning(bench(objective=objective)) is objective
    with pytest.raises(Refused, match="the objective of this bench shows nothing but a loss"):
        learning(bench())


def test_decay_skips_vectors_and_numbers():
    space, recipe = smooth(), Recipe(lr=0.5, weight_decay=0.25, momentum=0.0)
    space.model.register_parameter("scale", nn.Parameter(torch.tensor(1.0, dtype=torch.float64)))
    before = snapshot(space)
    for p in space.parameters():
        p.grad = torch.ones_like(p)
    descent(space, recipe).step()
    for name, p in space.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (1 - 0.5 * 0.25 * (p.dim() > 1)) - 0.5)


def test_a_space_without_matrices_or_without_vectors_has_one_group():
    space, recipe = smooth(), Recipe(weight_decay=0.25)
    assert [group["weight_decay"] for group in descent(space, recipe).param_groups] == [0.25, 0.0]
    for module in space.modules():
        if isinstance(module, nn.Linear):
            module.bias = None
        if isinstance(module, nn.BatchNorm1d):
            module.weight = module.bias = None
    assert [group["weight_decay"] for group in descent(space, recipe).param_groups] == [0.25]


def rates(course: dict, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(course["optimiser"].param_groups[0]["lr"])
        course["optimiser"].step()
        course["schedule"].step()
    return found


def test_the_rate_falls_by_the_batch_over_the_whole_search():
    recipe = Recipe(epochs=3, lr=1.0, lr_min=0.1, schedule="linear")
    found = rates(on_one_curve(bench(2), recipe), 7)
    assert found == pytest.approx([1 - 0.9 * i / 6 for i in range(7)])


def test_the_rate_rises_for_as_many_batches_as_the_warmup_has():
    recipe = Recipe(epochs=3, lr=1.0, lr_min=0.1, schedule="linear")
    found = rates(on_one_curve(bench(2), recipe, 1), 7)
    assert found == pytest.approx([1 / 3, 2 / 3, *(1 - 0.9 * i / 4 for i in range(5))])


def test_the_curve_is_that_of_the_recipe_and_else_the_usual_one():
    plain = Recipe(epochs=2, lr=1.0, lr_min=0.0)
    quarter = {"linear": 0.75, "cosine": (1 + 0.5**0.5) / 2}
    for recipe, told, kind in (
        (plain, {}, "cosine"),
        (plain, {"usual": "linear"}, "linear"),
        (replace(plain, schedule="cosine"), {"usual": "linear"}, "cosine"),
        (replace(plain, schedule="linear"), {}, "linear"),
    ):
        assert rates(on_one_curve(bench(2), recipe, **told), 2)[1] == pytest.approx(quarter[kind])


def trained(monkeypatch, scores: dict, judged, task=IMAGES, rows=None) -> tuple[Recorded, list]:
    """What is told of two epochs of one step each, and who was judged."""
    watch, asked = Recorded(), []
    monkeypatch.setattr(Bench, "score", lambda self, arch: asked.append(arch["a"]) or scores[arch["a"]])
    made = bench(2, watch=watch, task=task, judged=rows)
    arch = made.space.decide(lambda d: "tanh")
    recipe = Recipe(epochs=2, lr=0.25)
    train_children(
        made,
        recipe,
        lambda epoch: lambda batch: backward(made.objective(batch, arch)),
        judged,
        optimiser=descent(made.space, recipe),
    )
    return watch, asked


def archs() -> dict:
    return {name: smooth().decide(lambda d, name=name: name) for name in ("tanh", "norm", "skip")}


def test_those_that_are_named_after_an_epoch_are_judged_once_each(monkeypatch):
    known, epochs = archs(), []

    def judged(epoch: int) -> dict:
        epochs.append(epoch)
        return {"low": known["tanh"], "high": known["skip"], "same": known["tanh"]}

    watch, asked = trained(monkeypatch, {"tanh": 40.0, "skip": 70.0}, judged, rows=object())
    assert epochs == [0, 1]
    assert asked == ["tanh", "skip"] * 2
    for row in watch.epochs:
        assert {name: row[name] for name in row if name != "train_loss"} == {
            "lr": 0.25,
            "accuracy_low": 40.0,
            "accuracy_high": 70.0,
            "accuracy_same": 40.0,
        }
        assert row["train_loss"] > 0


def test_a_metric_that_is_better_when_small_is_told_as_it_is(monkeypatch):
    task = replace(IMAGES, metrics={"log_loss": Metric("minimize"), "accuracy": Metric()})
    watch, _ = trained(monkeypatch, {"norm": -0.75}, lambda epoch: {"a": archs()["norm"]}, task, rows=object())
    assert watch.epochs[1]["log_loss_a"] == 0.75


def test_without_rows_to_judge_nobody_is_named(monkeypatch):
    watch, asked = trained(monkeypatch, {}, lambda epoch: pytest.fail("nobody can be judged"))
    assert asked == []
    assert [set(row) for row in watch.epochs] == [{"train_loss", "lr"}] * 2


def test_the_loss_that_is_told_is_the_mean_of_the_steps_and_gradients_are_cut_to_the_clip():
    watch, moved = Recorded(), []
    made = bench(3, watch=watch)
    recipe, losses = Recipe(epochs=1, lr=1.0, momentum=0.0, clip=0.125), iter([1.0, 2.0, 6.0])
    arch, before = made.space.decide(lambda d: "tanh"), snapshot(made.space)

    def step(batch) -> torch.Tensor:
        backward(1000 * made.objective(batch, arch))
        now = torch.cat([(p - before[name]).flatten() for name, p in made.space.named_parameters()])
        moved.append(now.norm().item())
        return torch.tensor(next(losses))

    train_children(
        made, recipe, lambda epoch: step, lambda epoch: {}, optimiser=torch.optim.SGD(made.space.parameters(), 1.0)
    )
    assert watch.epochs[0]["train_loss"] == 3
    assert moved[:2] == [0, pytest.approx(0.125, rel=1e-3)]


class Dropping(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Dropout(0.5), nn.Dropout2d(0.5), DropPath(0.5), nn.BatchNorm1d(2), nn.Tanh())


def test_quiet_is_what_drops_and_nothing_else_and_afterwards_each_is_as_it_was():
    model = Dropping()
    model[1].eval()
    quiet = Quiet(model)
    with quiet():
        assert [module.training for module in model] == [False, False, False, True, True]
    assert [module.training for module in model] == [True, False, True, True, True]
    with pytest.raises(KeyError), quiet():
        raise KeyError
    assert [module.training for module in model] == [True, False, True, True, True]


def test_a_still_space_normalises_with_its_batch_and_leaves_statistics_alone_and_drops_nothing():
    space = smooth(dropout=0.5)
    still, before = Still(space), snapshot(space)
    x, arch = points(20)[0], {"a": "norm", "b": "tanh"}
    with still():
        one, other = space(x, arch), space(x, arch)
    assert torch.equal(one, other)
    assert all(torch.equal(before[name], value) for name, value in space.state_dict().items())
    inner = space.model[1](space.model[0](x))
    linear, norm = space.model[2].candidates["norm"]
    y = linear(inner)
    y = (y - y.mean(0)) / (y.var(0, unbiased=False) + norm.eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(one, space.model[5](space.model[4].candidates["tanh"](y)))
    assert not torch.equal(space(x, arch), space(x, arch))
    assert not torch.equal(before["model.2.candidates.norm.1.running_mean"], norm.running_mean)
