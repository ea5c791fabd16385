"""Cells in which any subset of operations may be on, of operations that multiply by a number."""

import pytest
import torch
from torch import nn

from winnow.core.space import Space
from winnow.holes.branches import Branches, Mean, mean

X = torch.tensor([2.0])


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


def cell(passing: bool, most: int = 3) -> Branches:
    return Branches("cell", {"a": Times(3.0), "b": Times(5.0), "c": Times(10.0)}, most, passing)


@pytest.mark.parametrize(
    ("passing", "most", "answers"),
    [
        (False, 1, [("a",), ("b",), ("c",)]),
        (True, 1, [(), ("a",), ("b",), ("c",)]),
        (False, 2, [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c")]),
        (False, 9, [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]),
    ],
)
def test_up_to_so_many_may_be_on_and_none_where_the_input_passes(passing, most, answers):
    assert list(cell(passing, most).decision.values) == answers


@pytest.mark.parametrize(
    ("passing", "on", "value"),
    [
        (False, ("a",), 6.0),
        (False, ("a", "c"), (6 + 20) / 2),
        (False, ("a", "b", "c"), (6 + 10 + 20) / 3),
        (True, (), 2.0),
        (True, ("b",), (2 + 10) / 2),
        (True, ("a", "c"), (2 + 6 + 20) / 3),
    ],
)
def test_a_space_and_its_child_give_the_mean_of_what_is_on(passing, on, value):
    space = Space(nn.Sequential(cell(passing)))
    assert space(X, {"cell": on}).item() == pytest.approx(value)
    assert space.derive({"cell": on})(X).item() == pytest.approx(value)


@pytest.mark.parametrize(("passing", "gated"), [(False, (0.5 * 6 + 0.25 * 20) / 0.75), (True, (2 + 3 + 5) / 1.75)])
def test_gates_are_weights_of_all_options_or_of_some_by_name(passing, gated):
    space = Space(nn.Sequential(cell(passing)))
    assert space(X, {"cell": torch.tensor([0.5, 0.0, 0.25])}).item() == pytest.approx(gated)
    named = {"a": torch.tensor(0.5), "c": torch.tensor(0.25)}
    assert space(X, {"cell": named}).item() == pytest.approx(gated)


@pytest.mark.parametrize(("passing", "mixed"), [(False, 0.5 * 6 + 2 * 15), (True, 0.5 * 4 + 2 * 32 / 3)])
def test_weights_of_subsets_mix_their_means_and_are_no_gates(passing, mixed):
    """2.5 in sum, which divides nothing."""
    space = Space(nn.Sequential(cell(passing)))
    subsets = {("a",): torch.tensor(0.5), ("b", "c"): torch.tensor(2.0)}
    assert space(X, {"cell": subsets}).item() == pytest.approx(mixed)


def test_what_is_off_gets_no_gradient():
    space = Space(nn.Sequential(cell(True)))
    space(X, {"cell": ("a", "c")}).sum().backward()
    grads = [None if p.grad is None else p.grad.item() for p in space.parameters()]
    assert grads == [pytest.approx(2 / 3), None, pytest.approx(2 / 3)]


def test_a_branch_alone_is_that_module_and_no_mean():
    hole = cell(False)
    assert hole.decided(("b",)) is hole.candidates["b"]
    assert isinstance(hole.decided(("a", "b")), Mean)
    passing = cell(True)
    assert type(passing.decided(())) is nn.Identity
    assert isinstance(passing.decided(("b",)), Mean)
    assert list(passing.decided(("b",))) == [passing.candidates["b"]]


@pytest.mark.parametrize("training", [True, False])
def test_a_decided_cell_has_the_mode_of_the_hole_and_its_parts_keep_theirs(training):
    hole = cell(True).train(training)
    hole.candidates["a"].train(not training)
    assert hole.decided(()).training is training
    both = hole.decided(("a", "b"))
    assert [both.training, both[0].training, both[1].training] == [training, not training, training]


def test_a_mean_of_one_is_what_it_returned_itself():
    assert mean(X, [], True) is X
    other = torch.tensor([7.0])
    assert mean(X, [lambda x: other], False) is other
    assert mean(X, [lambda x: other], True).item() == 4.5
    assert X.item() == 2
