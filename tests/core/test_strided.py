"""core.strided: 1 x 1 convolutions with a stride over few channels, with channels last, where torch's own crash."""

import copy

import pytest
import torch
from torch import nn

from winnow.core import strided
from winnow.core.strided import Strided, conv2d, guarded
from winnow.holes.elastic import Conv
from winnow.train.building import arranged, laid

LAST = torch.channels_last


def worked(network, x):
    """The answer, and the gradients of input and weights."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    network.zero_grad()
    answer = network(x)
    answer.square().sum().backward()
    return [answer, x.grad, *(p.grad.clone() for p in network.parameters())]


@pytest.mark.parametrize(("c_in", "stride"), [(8, 2), (3, 2), (12, (2, 1)), (8, 3), (16, 2), (24, 2)])
def test_it_is_what_torch_computes_with_channels_first(c_in, stride):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        plain, x = nn.Conv2d(c_in, 16, 1, stride), torch.randn(2, c_in, 60, 81)
    last = guarded(copy.deepcopy(plain)).to(memory_format=LAST)
    assert type(last) is Strided
    for mine, torchs in zip(worked(last, x.to(memory_format=LAST)), worked(plain, x), strict=True):
        torch.testing.assert_close(mine, torchs, rtol=1e-4, atol=1e-4)


def test_a_network_that_is_laid_out_lives():
    """Ten steps, each of which broke memory: before, Python ended."""
    block = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 16, 1, 2), nn.Conv2d(16, 8, 1), nn.Flatten())
    network = laid(arranged(block, (3, 120, 120), [lambda model, x: model(x)]))
    assert [type(layer) for layer in network[:3]] == [nn.Conv2d, Strided, nn.Conv2d]
    for _ in range(10):
        worked(network, torch.randn(4, 3, 120, 120).to(memory_format=LAST))


def test_an_elastic_one_over_its_first_channels_lives():
    conv = Conv(8, 16, 1, stride=2).to(memory_format=LAST)
    for _ in range(10):
        worked(conv, torch.randn(8, 8, 60, 80).to(memory_format=LAST))


def test_a_class_of_ones_own_keeps_its_forward_and_has_plain_inputs():
    class Mine(nn.Conv2d):
        pass

    network = nn.Sequential(Mine(8, 16, 1, 2))
    assert arranged(network, (8, 60, 80), [lambda model, x: model(x)]) is network
    assert type(network[0]) is Mine
    for _ in range(10):
        worked(laid(network), torch.randn(8, 8, 60, 80).to(memory_format=LAST))


class Watched:
    """`F.conv2d`, and the pixels and strides that torch was given."""

    def __init__(self):
        self.given = []

    def conv2d(self, x, weight, bias, stride=1, padding=0):
        self.given.append((tuple(x.shape[2:]), stride, padding))
        return torch.nn.functional.conv2d(x, weight, bias, stride, padding)


@pytest.mark.parametrize(
    ("c_in", "kernel", "stride", "padding", "given"),
    [
        (3, 1, 2, 0, ((5, 4), 1, 0)),
        (15, 1, 2, 0, ((5, 4), 1, 0)),
        (16, 1, 2, 0, ((9, 8), 2, 0)),  # blocks of sixteen are whole
        (17, 1, 2, 0, ((9, 8), 2, 0)),
        (3, 1, (2, 1), 0, ((5, 8), 1, 0)),
        (3, 1, (1, 2), 0, ((9, 4), 1, 0)),
        (3, 1, (1, 3), 0, ((9, 3), 1, 0)),
        (3, 1, 1, 0, ((9, 8), 1, 0)),
        (3, 1, (1, 1), 0, ((9, 8), (1, 1), 0)),
        (3, 3, 2, 0, ((9, 8), 2, 0)),
        (3, (1, 3), 2, 0, ((9, 8), 2, 0)),
        (3, (3, 1), 2, 0, ((9, 8), 2, 0)),
        (3, 1, 2, 1, ((9, 8), 2, 1)),
        (3, 1, 1, "same", ((9, 8), 1, "same")),
    ],
)
def test_torch_is_told_no_stride_where_it_would_write_beyond_its_memory(
    monkeypatch, c_in, kernel, stride, padding, given
):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        layer = nn.Conv2d(c_in, 2, kernel, stride, padding)
    x = torch.randn(2, c_in, 9, 8, generator=torch.Generator().manual_seed(0))
    expected = layer(x)
    watched = Watched()
    monkeypatch.setattr(strided, "F", watched)
    torch.testing.assert_close(conv2d(x, layer.weight, layer.bias, stride, padding), expected)
    assert watched.given == [given]


@pytest.mark.parametrize(
    ("layer", "is_one"),
    [
        (nn.Conv2d(3, 4, 1, 2), True),
        (nn.Conv2d(64, 4, 1, 2), True),  # over however many channels
        (nn.Conv2d(4, 4, 1, (1, 2)), True),
        (nn.Conv2d(4, 4, 1, (2, 1), bias=False), True),
        (nn.Conv2d(4, 4, 1, 1), False),
        (nn.Conv2d(4, 4, 3, 2), False),
        (nn.Conv2d(4, 4, (1, 3), 2), False),
        (nn.Conv2d(4, 4, 1, 2, padding=1), False),
        (nn.Conv2d(4, 4, 1, 2, padding=(0, 1)), False),
        (nn.Conv2d(4, 4, 1, 2, groups=2), False),
        (nn.Conv1d(4, 4, 1, 2), False),
        (nn.AvgPool2d(1, 2), False),
    ],
)
def test_only_a_strided_1_x_1_convolution_of_one_group_is_one(layer, is_one):
    assert strided.strided(layer) is is_one
    assert (type(guarded(nn.Sequential(layer))[0]) is Strided) is is_one


def test_a_guarded_network_is_the_same_object_with_the_same_weights_and_names():
    network = nn.Sequential(nn.Conv2d(3, 4, 1, 2), nn.Sequential(nn.Conv2d(4, 4, 1, (2, 1))))
    weights, names = [id(p) for p in network.parameters()], list(network.state_dict())
    assert guarded(network) is network
    assert [type(network[0]), type(network[1][0])] == [Strided, Strided]
    assert ([id(p) for p in network.parameters()], list(network.state_dict())) == (weights, names)
    assert network(torch.ones(1, 3, 8, 8)).shape == (1, 4, 2, 4)
