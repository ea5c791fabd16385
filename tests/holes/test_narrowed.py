"""Layers of an open embedding size: which part of their parameters a smaller one has."""

import pytest
import torch
from torch import nn

from winnow.core.decision import Number
from winnow.core.space import Space
from winnow.holes.narrowed import Gathered, Narrowed, narrowed
from winnow.nn.table import Embeddings


class Form(nn.Module):
    """x (n, k) to x W + b, with a W of k x k and a scale that does not follow k."""

    narrow = {"weight": (0, 1), "bias": (0,)}  # noqa: RUF012

    def __init__(self, k: int):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, k * k + 1).view(k, k))
        self.bias = nn.Parameter(100 * torch.arange(1.0, k + 1))
        self.scale = nn.Parameter(torch.tensor([2.0]))
        self.register_buffer("shift", torch.tensor([0.5]))

    def forward(self, x):
        return self.scale * (x @ self.weight + self.bias) + self.shift


def k() -> Number:
    return Number.open("k", (1, 2, 3))


def test_a_size_that_is_known_is_the_layer_itself_and_an_open_one_a_hole():
    assert type(narrowed(2, Form)) is type(narrowed(2, Form, gathers=True)) is Form
    assert narrowed(2, Form).weight.shape == (2, 2)
    assert type(narrowed(k(), Form)) is Narrowed
    assert type(narrowed(k(), Form, gathers=True)) is Gathered
    assert narrowed(k(), Form).whole.weight.shape == (3, 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [2 * (1 + 100) + 0.5]), (2, [2 * (1 + 4 + 100) + 0.5, 2 * (2 + 5 + 200) + 0.5]), (3, [224.5, 430.5, 636.5])],
)
def test_smaller_selves_have_the_beginning_of_each_axis_that_follows(size, expected):
    space = Space(nn.Sequential(narrowed(k(), Form)))
    x = torch.ones(1, size)
    assert space(x, {"k": size}).tolist() == [expected]
    child = space.derive({"k": size})[0]
    assert type(child) is Form
    assert child(x).tolist() == [expected]
    assert {name: tuple(p.shape) for name, p in child.named_parameters()} == {
        "weight": (size, size),
        "bias": (size,),
        "scale": (1,),
    }
    assert child.weight.is_contiguous()


def test_what_is_beyond_the_beginning_gets_no_gradient():
    space = Space(nn.Sequential(narrowed(k(), Form)))
    space(torch.ones(1, 2), {"k": 2}).sum().backward()
    whole = space.model[0].whole
    assert whole.weight.grad.tolist() == [[2, 2, 0], [2, 2, 0], [0, 0, 0]]
    assert whole.bias.grad.tolist() == [2, 2, 0]


def test_a_child_has_values_of_its_own_frozen_and_in_the_mode_as_they_were():
    hole = narrowed(k(), Form)
    hole.whole.bias.requires_grad_(False)
    hole.whole.shift += 1
    hole.whole.eval()
    child = hole.settled({"k": 3})
    assert [child.weight.requires_grad, child.bias.requires_grad, child.training] == [True, False, False]
    assert hole.train().settled({"k": 3}).training
    assert child.shift.item() == 1.5
    with torch.no_grad():
        for tensor in (*child.parameters(), *child.buffers()):
            tensor.zero_()
    assert all(tensor.any() for tensor in (*hole.whole.parameters(), *hole.whole.buffers()))


def test_a_layer_that_names_no_axes_stays_whole():
    space = Space(nn.Sequential(narrowed(k(), lambda size: nn.Linear(2, 2))))
    assert torch.equal(space.derive({"k": 1})[0].weight, space.model[0].whole.weight)


@pytest.mark.parametrize("gathers", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_table_gives_the_beginning_of_each_vector_however_it_is_cut(size, gathers):
    space = Space(nn.Sequential(narrowed(k(), lambda size: Embeddings([4, 3], 1, size), gathers=gathers)))
    with torch.no_grad():
        space.model[0].whole.weight.copy_(torch.arange(21.0).view(7, 3))
        space.model[0].whole.numbers.copy_(torch.tensor([[10.0, 20.0, 30.0]]))
    rows = torch.tensor([[2.0, 1.0, 0.5]])
    expected = [[row[:size] for row in ([6, 7, 8], [15, 16, 17], [5, 10, 15])]]
    found = space(rows, {"k": size})
    assert found.tolist() == expected
    assert found.is_contiguous()
    child = space.derive({"k": size})
    assert child(rows).tolist() == expected
    assert child[0].weight.shape == (7, size)
