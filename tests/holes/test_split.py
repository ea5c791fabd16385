"""A chain that networks share up to a layer that is open, of layers that each write a digit."""

import pytest
import torch
from torch import nn

from winnow.core.space import Space
from winnow.holes.ensemble import Ensemble, Members
from winnow.holes.split import Split


class Writes(nn.Module):
    """10 x + digit: a number tells which layers it went through, in order."""

    def __init__(self, digit: int):
        super().__init__()
        self.digit = nn.Parameter(torch.tensor(float(digit)))

    def forward(self, x):
        return 10 * x + self.digit


def digits(text: str) -> list[nn.Module]:
    return [Writes(int(digit)) for digit in text]


def split(splits=(1, 2, 3), shared="123", members=("456", "567"), heads="89") -> Split:
    return Split("split", splits, digits(shared), [digits(each) for each in members], digits(heads))


@pytest.mark.parametrize(
    ("splits", "at", "said"),
    [
        ((1, 2, 3), 1, [1568, 1679]),
        ((1, 2, 3), 2, [1268, 1279]),
        ((1, 2, 3), 3, [1238, 1239]),
        ((2, 3), 2, [1268, 1279]),
        ((3, 2), 3, [1238, 1239]),
        ((0, 3), 0, [4568, 5679]),
        ((0, 3), 3, [1238, 1239]),
    ],
)
def test_members_go_on_alone_after_the_split_and_answer_as_one_but_in_training(splits, at, said):
    space, x = Space(nn.Sequential(split(splits))), torch.tensor([0.0])
    child = space.derive({"split": at})
    for network in (lambda: space(x, {"split": at}), lambda: child(x)):
        space.train()
        child.train()
        told = network()
        assert isinstance(told, Members)
        assert [each.item() for each in told] == said
        space.eval()
        child.eval()
        assert network().item() == sum(said) / 2


def test_what_no_split_reaches_is_not_there():
    hole = split((1, 2))
    assert [len(hole.shared), *map(len, hole.members), len(hole.heads)] == [2, 2, 2, 2]
    assert len(list(hole.parameters())) == 2 + 2 * 2 + 2


def test_what_is_kept_are_the_shared_layers_and_a_chain_a_member():
    hole = split()
    kept = hole.kept(2)
    assert kept[:2] == list(hole.shared)[:2]
    assert kept[2:] == [hole.members[0][1], hole.heads[0], hole.members[1][1], hole.heads[1]]
    assert [len(hole.kept(at)) for at in (1, 2, 3)] == [1 + 2 * 3, 2 + 2 * 2, 3 + 2]


@pytest.mark.parametrize("training", [True, False])
def test_a_decided_split_has_the_mode_of_the_hole_and_its_layers_keep_theirs(training):
    hole = split().train(training)
    hole.shared[0].train(not training)
    hole.members[1][1].train(not training)  # the third layer: the first is never a member's
    child = hole.decided(2)
    assert type(child) is Ensemble
    assert [child.training, child.trunk.training, child.branches.training] == [training] * 3
    assert [branch.training for branch in child.branches] == [training] * 2
    assert [layer.training for layer in child.trunk] == [not training, training]
    assert [[layer.training for layer in branch] for branch in child.branches] == [
        [training, training],
        [not training, training],
    ]


def test_what_is_shared_learns_the_mean_of_its_members_and_what_is_left_out_nothing():
    space = Space(nn.Sequential(split()))
    said = space(torch.tensor([0.0]), {"split": 2})
    sum(said).backward()
    hole = space.model[0]
    assert [layer.digit.grad is not None for layer in hole.shared] == [True, True, False]
    assert [layer.digit.grad is not None for layer in hole.members[0]] == [False, True]
    assert hole.shared[1].digit.grad.item() == 100, "the mean of its members, not the sum"


@pytest.mark.parametrize(("splits", "wrong"), [((-1, 2), -1), ((1, 4), 4), ((4, -1), 4)])
def test_a_split_after_a_layer_that_there_is_not_is_an_error(splits, wrong):
    with pytest.raises(ValueError, match=f"decision 'split': 3 layers cannot split after {wrong}$"):
        split(splits)
