"""A chain whose length is open."""

import pytest
import torch
from torch import nn

from winnow.core.space import Space
from winnow.holes.depth import Depth


class Plus(nn.Module):
    def __init__(self, number: float):
        super().__init__()
        self.number = nn.Parameter(torch.tensor(number))

    def forward(self, x):
        return 10 * x + self.number


def chain(*depths: int) -> Depth:
    return Depth("depth", [Plus(1.0), Plus(2.0), Plus(3.0)], depths)


def test_the_first_so_many_run_and_the_others_get_no_gradient():
    space = Space(chain(0, 2, 3))
    assert [space(torch.tensor(0.0), {"depth": depth}).item() for depth in (0, 2, 3)] == [0, 12, 123]
    space(torch.tensor(0.0), {"depth": 2}).backward()
    assert [p.grad is not None for p in space.parameters()] == [True, True, False]


def test_a_decided_chain_has_no_more_than_it_runs_and_keeps_its_mode():
    hole = chain(1, 3).eval()
    hole.chain[0].train()
    decided = hole.decided(1)
    assert (len(decided), decided.training, decided[0].training) == (1, False, True)
    assert decided(torch.tensor(0.0)).item() == 1


@pytest.mark.parametrize("depths", [(-1, 2), (2, 4)])
def test_a_depth_that_there_is_not_is_an_error(depths):
    with pytest.raises(ValueError, match=f"a chain of 3 has no depth {min(depths) if min(depths) < 0 else 4}"):
        chain(*depths)
