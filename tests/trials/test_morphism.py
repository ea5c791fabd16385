"""Children begin where their parents ended, and the study that breeds them is as repeatable as any."""

import functools
import statistics

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.trials.test_engine import ONE, TWO, told
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.spaces import build
from winnow.spaces.nas_bench_201 import OPS
from winnow.train.seeds import generator, materialise
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.growth import fit_in, overlap
from winnow.trials.morphism import inherit, keep
from winnow.trials.outcome import Job
from winnow.trials.plan import Plan
from winnow.trials.search import SpaceSearch

SIZES = {"channels": 4, "cells": 1, "classes": 3, "final": True}
PARENT = {
    "1<-0": "nor_conv_1x1",
    "2<-0": "skip_connect",
    "2<-1": "none",
    "3<-0": "none",
    "3<-1": "avg_pool_3x3",
    "3<-2": "nor_conv_3x3",
}
X = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@functools.cache
def space():
    found = build("nas_bench_201", SIZES)
    found.example = tuple(X.shape[1:])
    return found


def cell(**changed):
    return Architecture.of(
        PARENT | {"3<-2": "nor_conv_3x3"} | {name.replace("_", "<-"): op for name, op in changed.items()}
    )


def fresh(arch, seed):
    return materialise(space().derive(arch), "cpu", seed)


def job(arch, parent=None):
    return Job(1, 1, {}, arch, {}, parent=parent)


@pytest.fixture
def parent(tmp_path):
    """With statistics and scales of its own, as after training."""
    model, drawn = fresh(cell(), 0), torch.Generator().manual_seed(1)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5, drawn)
        norm.running_mean.uniform_(-0.5, 0.5, generator=drawn)
    keep(tmp_path, 0, cell(), model, 0)
    return model


def test_what_parent_and_child_share_is_equal(parent, tmp_path):
    arch = cell(**{"2<-0": "nor_conv_3x3"})
    child, start = inherit(fresh(arch, 7), space(), job(arch, 0), tmp_path).state_dict(), fresh(arch, 7).state_dict()
    shared = parent.state_dict()
    assert set(shared) < set(child)
    assert all(torch.equal(child[name], tensor) for name, tensor in shared.items())
    assert all(torch.equal(child[name], start[name]) for name in set(child) - set(shared))


@pytest.mark.parametrize("changed", [{"1<-0": "nor_conv_3x3"}, {"2<-1": "nor_conv_3x3"}, {"3<-0": "nor_conv_1x1"}])
def test_larger_kernels_and_new_branches_change_nothing_at_first(parent, tmp_path, changed):
    arch = cell(**changed)
    child = inherit(fresh(arch, 7), space(), job(arch, 0), tmp_path)
    torch.testing.assert_close(child.eval()(X), parent.eval()(X))
    cross_entropy(child.train()(X), torch.zeros(8, dtype=torch.long)).backward()
    scales = [p.grad for name, p in child.named_parameters() if p.ndim == 1 and name.endswith("weight")]
    assert all(grad.abs().sum() > 0 for grad in scales)  # and it learns


def test_wider_layers_change_nothing_at_first():
    def net(width):
        return nn.Sequential(
            nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 5, 1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2),
        ).eval()  # fmt: skip

    narrow, wide = materialise(net(4), "cpu", 0), materialise(net(6), "cpu", 1)
    with torch.no_grad():
        for name, own in wide.state_dict().items():
            fit_in(own, narrow.state_dict()[name], *overlap(own, narrow.state_dict()[name]))
    torch.testing.assert_close(wide(X), narrow(X))
    assert wide[0].weight[4:].abs().sum() > 0


def test_a_child_begins_with_less_loss_than_a_stranger(tmp_path):
    y = torch.arange(8) % 3
    model = fresh(cell(), 0)
    optimiser = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(30):
        optimiser.zero_grad()
        cross_entropy(model(X), y).backward()
        optimiser.step()
    keep(tmp_path, 0, cell(), model, 0)

    def loss(arch, parent=None):
        with torch.no_grad():
            return float(cross_entropy(inherit(fresh(arch, 7), space(), job(arch, parent), tmp_path)(X), y))

    neighbours = [cell(**{name: op}) for name in PARENT for op in OPS if op != PARENT[name]][::2]
    children, strangers = [loss(arch, 0) for arch in neighbours], [loss(arch) for arch in neighbours]
    assert min(strangers) > 0.8
    assert statistics.median(children) < 0.3
    for preserving in ({"1<-0": "nor_conv_3x3"}, {"3<-0": "nor_conv_3x3"}, {"2<-1": "nor_conv_1x1"}):
        assert loss(cell(**preserving), 0) < 0.01


def breed(folder, n, plan, parents, **search):
    """The accuracy is the weights' own doing: a sum that children carry on."""

    def evaluate(job):
        model = inherit(fresh(job.architecture, job.seed % 2**32), space(), job, folder)
        with torch.no_grad():
            next(model.parameters()).add_(torch.rand((), generator=generator(job.seed, "toy")))
        keep(folder, job.number, job.architecture, model, job.seed)
        parents[job.number] = job.parent
        return {
            "accuracy": float(next(model.parameters()).detach().sum()),
            "cost": float(len(set(job.architecture.values()))),
        }

    where = str(folder / "study.log")
    return run(plan, SpaceSearch(space(), **search), Inline(evaluate), where=where, name="bred", n_trials=n)


def test_the_parent_is_the_best_that_is_known_and_a_study_in_parts_is_the_whole(tmp_path):
    plan = Plan(ONE, sampler="network_morphism", look_back=3)
    parents, again = {}, {}
    whole = breed(tmp_path / "whole", 20, plan, parents)
    for part in (3, 6, 11, 20):
        parts = breed(tmp_path / "parts", part, plan, again)
    assert told(parts) == told(whole)
    assert again == parents
    assert [parents[n] for n in range(6)] == [None] * 6  # four random ones, and those begun before they were known
    for n in range(6, 20):
        best = max(whole[: n - 2], key=lambda r: r.objectives["accuracy"])
        assert parents[n] == best.number
        a, b = (Architecture.from_json(r.architecture) for r in (best, whole[n]))
        assert sum(a[name] != b[name] for name in a) == 1


def test_the_child_of_a_repeat_has_the_weights_of_what_was_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.trials.morphism.fitness", lambda trial, sign: trial.number)  # the last is the parent
    parents = {}
    plan = Plan(ONE, sampler="network_morphism", look_back=1)
    rows = breed(tmp_path, 30, plan, parents, identity=lambda a: str(a["3<-2"] + a["3<-1"]))
    assert sorted(parents) == [r.number for r in rows if r.copy_of is None] != list(range(30))
    of = {n: rows[n - 1].number if rows[n - 1].copy_of is None else rows[n - 1].copy_of for n in parents if n > 4}
    assert {n: parents[n] for n in of} == of
    assert any(rows[n - 1].copy_of is not None for n in of)


def test_what_cannot_be_is_a_sentence(tmp_path):
    arch = cell()
    with pytest.raises(
        Refused, match=r"5\.safetensors, the weights of a parent, cannot be read .*begin the study anew"
    ):
        inherit(fresh(arch, 0), space(), job(arch, 5), tmp_path)
    with pytest.raises(Refused, match="'network_morphism' takes one objective, not 2"):
        breed(tmp_path, 2, Plan(TWO, sampler="network_morphism"), {})
