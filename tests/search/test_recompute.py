"""search.recompute: strategies find the same bits, differentiated twice too, and what cannot be is a sentence."""

import copy

import pytest
import torch
from torch import nn

from tests.search.planted import bench_of, split_options
from tests.search.toys import Loader, cells, images, logits_of
from winnow.config.methods import strategy
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.curvature import hessian
from winnow.search.gradients import exact, finite_difference, weights_of
from winnow.search.objective import objective
from winnow.search.relax import softmax
from winnow.train.evaluate import batch_statistics
from winnow.train.seeds import seeded

OPTIONS = {"darts": {"order": "second"}, "pc_darts": {"warmup": 0}, "unas": {"warmup": 0}, "gdas": {}, "spos": {}}


def learning(space: Space, recompute: bool):
    return objective(space, nn.CrossEntropyLoss(), recompute=recompute)


@pytest.mark.parametrize(("name", "where"), [*((name, "nas_bench_201") for name in OPTIONS), ("darts", "darts")])
def test_a_search_ends_in_the_same_bits(name, where):
    states = []
    for recompute in (False, True):
        record = strategy(name)
        with seeded(0):
            space = record.formed(cells(where), {})
        recipe, own = split_options({"epochs": 1, **OPTIONS[name]})
        bench = bench_of(space, Loader([images(4, 0)]), Loader([images(4, 1)]), objective=learning(space, recompute))
        with seeded(0):
            found = record.run(bench, recipe, own)
        states.append([*found.space.state_dict().values(), *(found.logits or {}).values()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_it_can_be_differentiated_twice():
    space = cells()
    logits, batch = logits_of(space), images(4)
    vector = [torch.ones_like(w) for w in weights_of(space)]
    products = []
    for recompute in (False, True):
        loss = learning(space, recompute)
        with batch_statistics(space):
            of_both = [*exact(space, logits, softmax, loss, batch, vector)]
            of_both += finite_difference(space, logits, softmax, loss, batch, vector)
        with hessian(space, loss, batch, logits) as product:
            size = sum(len(each) for each in logits.values())
            products.append([*of_both, *(product(torch.ones(size)) for _ in range(2))])
    assert all(torch.equal(a, b) for a, b in zip(*products, strict=True))


class Counting(nn.Module):
    """Its output depends on how often it was called, as that of a layer with spectral normalisation."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return (x * self.weight * self.calls).tanh()


def test_buffers_and_modes_are_those_of_the_first_pass():
    def made() -> Space:
        with seeded(0):
            parts = (Choice(n, {"x": nn.Sequential(Counting(), nn.BatchNorm1d(4), nn.Dropout(0.5))}) for n in "ab")
            return Space(nn.Sequential(nn.Linear(4, 4), *parts))

    grads = []
    for recompute in (False, True):
        space = made()
        loss = learning(space, recompute)
        with seeded(0):
            losses = [loss((torch.ones(3, 4), torch.tensor([0, 1, 2])), {"a": "x", "b": "x"}) for _ in range(2)]
            space.eval()  # after the forward passes, whose modes count
            sum(losses).backward()
        assert not any(module.training for module in space.modules())
        grads.append([*(p.grad for p in space.parameters()), *space.buffers()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_evaluation_computes_once():
    space = cells()
    calls, arch = [], space.decide(lambda d: "nor_conv_3x3")
    for module in space.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        learning(space, True)(images(4), arch)
    once = len(calls)
    learning(space, True)(images(4), arch).backward()
    assert once < len(calls) - once


def test_what_cannot_be_computed_again_is_a_sentence():
    alone = Space(nn.Sequential(nn.Linear(2, 2), Choice("a", {"x": nn.Identity(), "y": nn.Tanh()})))
    with pytest.raises(Refused, match=r"search.recompute: the open decisions of this space are all in one module"):
        objective(alone, nn.CrossEntropyLoss(), recompute=True)
    objective(alone, nn.CrossEntropyLoss())

    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.holders = nn.ModuleList(Holder(name) for name in "ab")

        def forward(self, x):
            for holder in self.holders:
                x = holder.choice(x)
            return x

    class Holder(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.choice = Choice(name, {"x": nn.Linear(2, 2), "y": nn.Linear(2, 2)})

    space = Space(Reading())
    batch, arch = (torch.ones(2, 2), torch.tensor([0, 1])), {"a": "x", "b": "y"}
    with pytest.raises(Refused, match=r"calls none of the modules that hold its decisions \(Holder\)"):
        learning(copy.deepcopy(space), True)(batch, arch)
    learning(space, False)(batch, arch).backward()
