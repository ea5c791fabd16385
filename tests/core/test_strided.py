"""core.strided: 1 x 1 convolutions with a stride over few channels, with channels last, where torch's own crash."""

import copy

import pytest
import torch
from torch import nn

from winnow.core.strided import Strided, guarded
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
