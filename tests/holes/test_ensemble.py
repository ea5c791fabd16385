"""Networks that share a beginning: what each says, what they say together, and what the beginning learns of it."""

import pytest
import torch
from torch import nn

from winnow.holes.ensemble import Ensemble, Members, branched, counting, together


class Times(nn.Module):
    def __init__(self, factor: float):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


ONE, OTHER, THIRD = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 4.0]]), torch.tensor([[0.0, 9.0]])


def test_the_mean_of_members_counts_and_the_first_of_any_other_tuple():
    assert counting(Members([ONE, OTHER])).tolist() == [[3, 3]]
    assert counting((ONE, OTHER)) is ONE
    assert counting([OTHER, ONE]) is OTHER
    assert counting(ONE) is ONE


def test_together_is_the_mean_over_members_and_one_alone_is_itself():
    assert together([ONE, OTHER, THIRD]).tolist() == [[2, 5]]
    assert together([OTHER]) is OTHER
    assert counting(Members([OTHER])) is OTHER


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("factors", [(2.0,), (2.0, 5.0), (2.0, 5.0, 11.0)])
def test_the_beginning_learns_the_mean_of_its_members_gradients(factors, training):
    """In training of the sum of what they say, else of their mean: either way the mean of the factors."""
    x = torch.tensor([3.0], requires_grad=True)
    branches = [Times(factor) for factor in factors]
    said = branched(x * 1, iter(branches), training)
    assert isinstance(said, Members) is training
    (sum(said) if training else said).sum().backward()
    assert x.grad.item() == pytest.approx(sum(factors) / len(factors))
    share = 1 if training else len(factors)
    assert [each.factor.grad.item() for each in branches] == [pytest.approx(3 / share)] * len(factors)


def test_an_input_that_learns_nothing_passes_through_members_in_training_too():
    said = branched(torch.tensor([3.0]), [Times(2.0), Times(5.0)], True)
    assert [each.item() for each in said] == [6, 15]


def test_an_ensemble_goes_through_its_trunk_once_and_speaks_as_its_mode_says():
    calls = []
    trunk = Times(10.0)
    trunk.register_forward_hook(lambda *_: calls.append(1))
    ensemble = Ensemble(trunk, [Times(1.0), Times(3.0)])
    said = ensemble(torch.tensor([2.0]))
    assert isinstance(said, Members)
    assert [each.item() for each in said] == [20, 60]
    assert ensemble.eval()(torch.tensor([2.0])).item() == 40
    assert len(calls) == 2
    assert [name for name, _ in ensemble.named_parameters()] == [
        "trunk.factor",
        "branches.0.factor",
        "branches.1.factor",
    ]
