"""measure.cost: counts worked out by hand."""

import pytest
import torch
from torch import nn

from winnow.measure.cost import bitops, bits_of, macs, params, quantised, said, sizes


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


class Rounded(nn.Conv2d):
    """A convolution that says its bits."""

    def __init__(self, weight_bits, activation_bits):
        super().__init__(2, 3, 1)
        self.weight_bits, self.activation_bits = weight_bits, activation_bits


class Product(nn.Module):
    """Multiplies its inputs with one another and says so."""

    def multiplications(self, a, b):
        return a[0].numel() * b.shape[-1]

    def forward(self, a, b):
        return a @ b


class Mixing(nn.Module):
    def __init__(self):
        super().__init__()
        self.product, self.linear = Product(), nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(self.product(x, torch.ones(5, 3, device=x.device)))


def test_a_module_that_says_its_multiplications_counts_by_its_inputs():
    assert macs(Mixing(), (4, 5)) == 4 * 5 * 3 + 4 * 3 * 2
    assert macs(Mixing().to("meta"), (4, 5)) == 4 * 5 * 3 + 4 * 3 * 2


def test_bits_multiply_what_says_them_and_nothing_else():
    plain = nn.Conv2d(2, 3, 1)
    both = nn.Sequential(Rounded(2, 4), nn.Conv2d(3, 3, 1), Rounded(3, 5).requires_grad_(False))
    both[2].weight = nn.Parameter(torch.zeros(3, 3, 1, 1))
    assert macs(both, (2, 4, 4)) == 16 * (6 + 9 + 9)
    assert bitops(both, (2, 4, 4)) == 16 * (6 * 8 + 9 * 15)
    assert bitops(plain, (2, 4, 4)) == 0
    assert (bits_of(Rounded(2, 4)), bits_of(Rounded(32, 32)), bits_of(plain)) == (8, 1024, 0)


@pytest.mark.parametrize(
    ("bits", "rounds"),
    [
        ((2, 4), True),
        ((32, 4), True),
        ((2, 32), True),
        ((32, 32), False),
        ((31, 33), True),
        ((None, 4), False),
        ((2, None), False),
        ((2.0, 4), False),
    ],
)
def test_a_layer_rounds_where_it_says_two_numbers_of_bits_and_not_both_are_floats(bits, rounds):
    assert quantised(Rounded(*bits)) is rounds
    assert not quantised(nn.Conv2d(2, 3, 1))


def test_what_says_its_multiplications_and_its_bits_has_operations_on_bits():
    model = Mixing()
    model.product.weight_bits, model.product.activation_bits = 2, 3
    assert bitops(model, (4, 5)) == 4 * 5 * 3 * 6
    assert macs(model, (4, 5)) == 4 * 5 * 3 + 4 * 3 * 2


def test_sizes_have_operations_on_bits_only_where_there_are_some():
    assert sizes(nn.Conv2d(2, 3, 1), (2, 4, 4)) == {"params": 9, "macs": 96}
    assert sizes(Rounded(2, 4), (2, 4, 4)) == {"params": 9, "macs": 96, "bitops": 768}


def test_sizes_in_words():
    assert said({"params": 11_689_531, "macs": 1_814_073_344}) == "11,689,531 params, 1814.07 M MACs"
    assert said({"params": 1000, "macs": 10**12}) == "1,000 params, 1000000.00 M MACs"
    with_bits = {"params": 1, "macs": 14_000, "bitops": 5 * 2**29 + 2**24}
    assert said(with_bits) == "1 params, 0.01 M MACs, 2.52 Gi bit operations"


def test_an_input_that_is_given_counts_as_one_of_its_shape():
    words = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 5))
    assert macs(words, torch.tensor([[3, 1, 8]])) == 3 * 4 * 5


def test_what_is_counted_is_evaluation():
    class Training(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            assert not torch.is_grad_enabled()
            return self.linear(x) if self.training else x

    model = Training()
    assert macs(model, (4,)) == 0
    assert model.training
