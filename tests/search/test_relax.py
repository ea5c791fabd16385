"""search.relax: logits beside the network, and what softmax makes of them."""

import random

import pytest
import torch
from torch import nn

from tests.search.toys import cells, images, logits_of, one_hot
from winnow.core.choosers import uniform
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.relax import Logits, softmax


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_vector_per_edge_none_per_node():
    logits = Logits(cells("darts"), generator(0))
    assert len(logits) == 2 * 14
    assert {tuple(vector.shape) for vector in logits.values()} == {(8,)}
    assert "normal/2" not in logits


def test_logits_are_no_weights_of_the_space():
    space = cells()
    logits = Logits(space, generator(0))
    assert not {id(p) for p in logits.parameters()} & {id(p) for p in space.parameters()}
    assert len(logits) == 6


def test_logits_start_small_and_repeat_with_their_seed():
    space = cells("darts")
    first, again, other = (torch.cat(list(Logits(space, generator(seed)).values())).detach() for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert float(first.std()) == pytest.approx(1e-3, rel=0.2)
    assert float(first.mean()) == pytest.approx(0, abs=3e-4)


def test_a_decision_of_one_option_has_a_weight_too():
    space = Space(
        nn.Sequential(Choice("only", {"a": nn.Identity()}), Choice("x", {"a": nn.Identity(), "b": nn.ReLU()}))
    )
    x = torch.randn(2, 3)
    assert torch.equal(space(x, softmax(Logits(space, generator(0), scale=0.0))), 0.5 * x + 0.5 * x.relu())


def test_weights_are_positive_sum_to_one_and_ignore_a_constant():
    logits = logits_of(cells("darts"), scale=3.0)
    weights = softmax(logits)
    assert all((vector > 0).all() for vector in weights.values())
    assert torch.allclose(torch.stack([vector.sum() for vector in weights.values()]), torch.ones(28))
    shifted = softmax({name: vector + 7.0 for name, vector in logits.items()})
    for name, vector in weights.items():
        torch.testing.assert_close(shifted[name], vector, rtol=1e-5, atol=1e-7)


def test_one_hot_weights_give_the_single_operation_to_the_bit():
    space, (x, _) = cells(), images(4)
    space.eval().board.plain = True  # a faster cell sums in another order
    arch = space.decide(uniform(random.Random(0)))
    weights = {name: one_hot(d, arch[name]) for name, d in space.decisions.items()}
    assert torch.equal(space(x, weights), space(x, arch))


@pytest.mark.gpu
def test_logits_stay_leaves_on_the_device_with_the_numbers_of_the_cpu():
    space = cells("darts")
    there, here = Logits(space, generator(0)).to("cuda"), Logits(space, generator(0))
    for name, vector in there.items():
        assert isinstance(vector, nn.Parameter)
        assert vector.is_leaf
        assert vector.is_cuda
        assert torch.equal(vector.cpu(), here[name])
    assert [id(p) for p in there.parameters()] == [id(p) for p in there.values()]
