"""The faster mixtures of the spaces against their plain form, in double precision unless stated."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.mixing import counting, differing, mixing
from winnow.search.gradients import exact
from winnow.spaces import build
from winnow.train.evaluate import batch_statistics

SPACES = {
    "nas_bench_201": ("nas_bench_201", {"channels": 4, "cells": 1}),
    "nas_bench_201 final": ("nas_bench_201", {"channels": 4, "cells": 1, "final": True}),
    "darts": ("darts", {"channels": 4, "layers": 3}),
    "darts s1": ("darts", {"channels": 4, "layers": 3, "candidates": "s1"}),
    "darts final": ("darts", {"channels": 4, "layers": 3, "none": False, "final": True}),
}
MODES = {"train": (True, False), "eval": (False, False), "batch statistics": (True, True)}


def pair(name: str, dtype: torch.dtype = torch.float64) -> tuple[Space, Space]:
    """A space and its copy that computes mixtures plainly, with running statistics that are no start values."""
    kind, options = SPACES[name]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        fast = build(kind, options, classes=3, image_channels=2).to(dtype)
        for module in fast.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    plain = copy.deepcopy(fast)
    plain.board.plain = True
    return fast, plain


def logits(space: Space, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    single = {d.name: len(d.options) for d in space.decisions.values() if d.pick == 1}
    return {k: torch.randn(n, generator=generator, dtype=dtype).requires_grad_() for k, n in single.items()}


def batch(side: int = 8, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    x = torch.randn(3, 2, side, side, generator=torch.Generator().manual_seed(2), dtype=dtype)
    return x, torch.tensor([0, 1, 2])


def everything(space: Space, side: int, dtype: torch.dtype = torch.float64) -> dict[str, object]:
    """Output, gradients of images, logits and weights, and the state afterwards."""
    parameters, (x, y) = logits(space, dtype), batch(side, dtype)
    x.requires_grad_()
    output = space(x, {name: vector.softmax(0) for name, vector in parameters.items()})
    F.cross_entropy(output, y).backward()
    return {
        "output": output,
        "images": x.grad,
        "logits": {name: vector.grad for name, vector in parameters.items()},
        "weights": {name: p.grad for name, p in space.named_parameters()},
        "state": space.state_dict(),
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SPACES)
def test_everything_equals_the_plain_form(name, mode):
    training, batches = MODES[mode]
    for side in (8, 9):
        found, right = (
            everything_in(space.train(training), batches, lambda space, side=side: everything(space, side))
            for space in pair(name)
        )
        torch.testing.assert_close(found, right, rtol=1e-9, atol=1e-11)


def everything_in(space: Space, batches: bool, compute):
    with batch_statistics(space) if batches else contextlib.nullcontext():
        return compute(space)


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_single_precision_is_near(name):
    found, right = (everything(space, 16, torch.float32) for space in pair(name, torch.float32))
    torch.testing.assert_close(found["output"], right["output"], rtol=1e-4, atol=1e-4)
    for part in ("logits", "weights"):
        vectors = [torch.cat([g.flatten() for g in run[part].values()]) for run in (found, right)]
        assert (vectors[0] - vectors[1]).norm() < 0.02 * vectors[1].norm()  # a ReLU at zero may fall either way


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_frozen_weights_get_no_gradient_and_logits_the_same(name):
    fast, plain = pair(name)
    expected = everything(plain, 8)["logits"]
    fast.requires_grad_(False)
    parameters, (x, y) = logits(fast), batch()
    F.cross_entropy(fast(x, {k: v.softmax(0) for k, v in parameters.items()}), y).backward()
    torch.testing.assert_close({name: vector.grad for name, vector in parameters.items()}, expected)
    assert all(p.grad is None for p in fast.parameters())


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_second_derivatives_equal_the_plain_ones(name):

    def relax(parameters):
        return {name: vector.softmax(0) for name, vector in parameters.items()}

    products = []
    for space in pair(name):

        def loss(batch, setting, space=space):
            return F.cross_entropy(space(batch[0], setting), batch[1])

        generator = torch.Generator().manual_seed(3)
        vector = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in space.parameters()]
        products.append(exact(space, logits(space), relax, loss, batch(), vector))
    torch.testing.assert_close(*products, rtol=1e-8, atol=1e-10)


def settings(space: Space) -> dict[str, dict[str, object]]:
    """Settings that mix only in part; the first decision of a cell type is the one looked at."""
    mixed = {name: vector.detach().softmax(0) for name, vector in logits(space).items()}
    first = next(iter(mixed))
    d = space.decisions[first]
    masked = mixed[first].clone()
    masked[-1] = 0
    found = {
        "a decided edge": {**mixed, first: d.options[-1]},
        "a masked option": {**mixed, first: masked},
        "an edge of zeros": {**mixed, first: torch.zeros_like(masked)},
        "one edge mixed": {**{name: space.decisions[name].options[-1] for name in mixed}, first: mixed[first]},
        "an edge left out": {**mixed},
    }
    for d in space.decisions.values():
        if d.pick > 1:
            found["a decided edge"][d.name] = d.values[-1]
            found["an edge left out"][d.name] = d.options[:-1]
            found["one edge mixed"][d.name] = torch.linspace(0.2, 0.8, len(d.options), dtype=torch.float64)
    return found


@pytest.mark.parametrize(
    "kind", ["a decided edge", "a masked option", "an edge of zeros", "one edge mixed", "an edge left out"]
)
@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_settings_that_mix_in_part_equal_the_plain_form(name, kind):
    fast, plain = (space.eval() for space in pair(name))
    setting, (x, _) = settings(fast)[kind], batch()
    torch.testing.assert_close(fast(x, setting), plain(x, setting), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_a_node_that_nothing_leads_to_is_zero(name):
    fast, plain = (space.eval() for space in pair(name))
    setting = {d.name: torch.zeros(len(d.options), dtype=torch.float64) for d in fast.decisions.values() if d.pick == 1}
    torch.testing.assert_close(fast(batch()[0], setting), plain(batch()[0], setting))


def test_masked_options_are_not_computed_but_those_with_a_gradient_are():
    fast, _ = pair("nas_bench_201")
    cell = fast.model[2]
    counters = {
        option: cell.edges[0].candidates[option][2].num_batches_tracked for option in ("nor_conv_1x1", "nor_conv_3x3")
    }
    setting = {name: vector.detach() for name, vector in logits(fast).items()}
    setting["1<-0"] = torch.tensor([0.1, 0.2, 0.0, 0.7, 0.0], dtype=torch.float64)
    fast(batch()[0], setting)
    assert [int(counter) for counter in counters.values()] == [0, 1]
    setting["1<-0"].requires_grad_()
    fast(batch()[0], setting)
    assert [int(counter) for counter in counters.values()] == [1, 2]


def test_mixtures_are_computed_channels_last_and_single_paths_as_they_come():
    fast, _ = pair("nas_bench_201")
    seen = []
    fast.model[2].register_forward_hook(lambda module, inputs, output: seen.append(output))
    fast(batch()[0], {name: vector.softmax(0) for name, vector in logits(fast).items()})
    fast(batch()[0], fast.decide(lambda d: d.options[-1]))
    assert [y.is_contiguous(memory_format=torch.channels_last) for y in seen] == [True, False]


def posted(value) -> Choice:
    hole = Choice("a", {"x": nn.Identity(), "y": nn.Identity(), "z": nn.Identity()})
    hole.board.setting = {"a": value}
    return hole


def test_options_that_weigh_nothing_and_ask_for_no_gradient_do_not_count():
    def counted(value) -> dict[str, float]:
        return {option: weight.item() for option, weight in counting(posted(value), torch.device("cpu")).items()}

    assert counted(torch.tensor([0.0, -1.0, 0.5])) == {"y": -1, "z": 0.5}
    assert counted(torch.tensor([0.0, -1.0, 0.5], requires_grad=True)) == {"x": 0, "y": -1, "z": 0.5}
    assert counted({"z": torch.tensor(0.0)}) == {"z": 0}
    assert counted("y") == {"y": 1}
    assert counted(("x", "z")) == {"x": 1, "z": 1}


def test_what_is_mixed_is_told_from_what_differs_by_example_and_from_what_is_decided():
    told = [(value, mixing([posted(value)]), differing([posted(value)])) for value in (
        "x", torch.ones(3), torch.ones(3, 2), {"x": torch.tensor(1.0)}, {"x": torch.ones(2)},
    )]  # fmt: skip
    assert [(mixed, differs) for _, mixed, differs in told] == [
        (False, False), (True, False), (False, True), (True, False), (False, True),
    ]  # fmt: skip
    plain = posted(torch.ones(3))
    plain.board.plain = True
    assert (mixing([plain]), differing([nn.Identity(), plain])) == (False, False)
    assert mixing([nn.Identity()]) is False
