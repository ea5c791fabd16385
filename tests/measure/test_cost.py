"""measure.cost: counts worked out by hand."""

import pytest
import torch
from torch import nn

from winnow.measure.cost import macs, params


class Tokens(nn.Module):
    """(batch, channels, height, width) to (batch, height * width, channels), then a linear layer on each token."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 10)

    def forward(self, x):
        return self.linear(x.flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("model", "shape", "count"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 6), 10 * 6 * 8 * 3 * 9),
        (nn.Conv2d(3, 8, 3, padding=1, bias=False), (3, 10, 6), 10 * 6 * 8 * 3 * 9),  # a bias adds, it multiplies not
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), (4, 9, 9), 5 * 5 * 8 * 4 * 9),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), (8, 6, 6), 6 * 6 * 8 * 25),
        (nn.Conv2d(8, 12, 3, padding=1, groups=4), (8, 6, 6), 6 * 6 * 12 * 2 * 9),
        (nn.Conv2d(4, 4, 3, padding=2, dilation=2), (4, 6, 6), 6 * 6 * 4 * 4 * 9),
        (nn.Conv2d(4, 4, (1, 3)), (4, 6, 6), 6 * 4 * 4 * 4 * 3),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), (3, 2, 2), 60),
        (Tokens(), (6, 4, 5), 20 * 60),
        (nn.Sequential(nn.BatchNorm2d(3), nn.ReLU(), nn.AvgPool2d(2), nn.Identity()), (3, 4, 4), 0),
    ],
    ids=["conv", "no bias", "stride", "depthwise", "groups", "dilated", "wide", "linear", "tokens", "nothing"],
)
def test_multiply_accumulates_by_hand(model, shape, count):
    assert macs(model, shape) == count


def test_a_layer_that_is_called_twice_costs_twice_and_weighs_once():
    layer = nn.Linear(4, 4, bias=False)
    model = nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer)
    assert macs(model, (1, 2, 2)) == 2 * 16
    assert params(model) == 16


def test_parameters_count_frozen_ones_and_no_buffers():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    model[0].weight.requires_grad_(False)
    assert params(model) == 6 + 2 + 4


def test_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stream = torch.get_rng_state()
    macs(model, (3, 4, 4))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), stream)
