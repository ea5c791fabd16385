"""holes: numbers of few bits, against what one works out by hand. The contract suite has what every space promises."""

import math

import pytest
import torch
from torch import Tensor, nn

from winnow.core.decision import Decision, Number
from winnow.core.space import Space
from winnow.holes.bits import PENALTY, pair, quantised_activations, quantised_weights
from winnow.holes.quantised import CLIP, QuantisedConv, QuantisedConv2d
from winnow.measure.cost import bitops, macs
from winnow.train.seeds import seeded


def gradient(function, x: Tensor, *others: Tensor) -> Tensor:
    """Of `function(x)`, each output weighed by 1, 2, 3 ..."""
    x = x.clone().requires_grad_()
    found = function(x, *others)
    return torch.autograd.grad((found * torch.arange(1.0, len(x) + 1)).sum(), x)[0]


def test_weights_of_two_bits_take_four_values_and_pass_the_gradient_of_tanh():
    """tanh: -0.46, 0.10, 0.76; over twice the largest, and a half: 0.196, 0.565, 1; in thirds: 1/3, 2/3, 1."""
    w = torch.tensor([-0.5, 0.1, 1.0])
    assert quantised_weights(w, 2).tolist() == pytest.approx([-1 / 3, 1 / 3, 1.0])
    largest = math.tanh(1.0)
    by_hand = [n * (1 - math.tanh(v) ** 2) / largest for n, v in zip((1, 2, 3), w.tolist(), strict=True)]
    assert gradient(lambda x: quantised_weights(x, 2), w).tolist() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_take_no_more_values_than_their_bits_allow_all_between_one_and_minus_one(bits):
    found = quantised_weights(torch.randn(4000, generator=torch.Generator().manual_seed(0)), bits)
    assert found.unique().numel() == 2**bits
    assert (found.min(), found.max()) == (-1, 1)


def test_a_weight_of_one_bit_is_a_sign_times_the_mean_and_passes_the_gradient_unchanged():
    w = torch.tensor([-0.5, 0.0, 1.0])
    assert quantised_weights(w, 1).tolist() == [-0.5, 0.5, 0.5]
    assert gradient(lambda x: quantised_weights(x, 1), w).tolist() == pytest.approx([1, 2, 3])
    assert quantised_weights(torch.zeros(3), 1).isfinite().all()
    assert quantised_weights(torch.zeros(3), 2).isfinite().all()


def test_activations_take_values_up_to_the_clip_and_both_gradients_are_as_published():
    """Clip 1.5, two bits: steps of 0.5. Gradients pass x within [0, 1.5], and the clip from 1.5 on."""
    x, clip = torch.tensor([-1.0, 0.0, 0.3, 0.7, 1.2, 1.5, 9.0]), torch.tensor(1.5, requires_grad=True)
    assert quantised_activations(x, clip, 2).tolist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.5, 1.5]
    assert gradient(lambda v: quantised_activations(v, clip, 2), x).tolist() == [0, 2, 3, 4, 5, 6, 0]
    (quantised_activations(x, clip, 2) * torch.arange(1.0, 8)).sum().backward()
    assert clip.grad.item() == pytest.approx(6 + 7 + PENALTY * 1.5)


def test_the_sign_of_a_clip_means_nothing_and_none_divides_by_zero():
    x = torch.tensor([0.3, 2.0])
    below, above = (quantised_activations(x, torch.tensor(clip), 2) for clip in (-1.5, 1.5))
    assert torch.equal(below, above)
    assert quantised_activations(x, torch.tensor(0.0), 2).isfinite().all()


def test_floats_are_left_alone():
    x = torch.randn(9)
    assert quantised_weights(x, 32) is x
    assert quantised_activations(x, torch.tensor(1.0), 32) is x
    assert pair("w32a32") == (32, 32)


def test_gradients_of_many_samples_at_once_are_those_one_by_one():
    """As some proxies take them."""
    x, clip = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) * 3, torch.tensor(1.5)

    def total(row: Tensor) -> Tensor:
        return (quantised_activations(quantised_weights(row, 2), clip, 2) ** 2).sum()

    each = torch.stack([torch.func.grad(total)(row) for row in x])
    assert torch.equal(torch.func.vmap(torch.func.grad(total))(x), each)
    assert each.any()


def test_all_bits_share_one_float_weight_and_each_number_of_activation_bits_has_a_clip():
    bits = Decision("bits", ("w1a2", "w2a2", "w2a4", "w32a32"))
    space = Space(nn.Sequential(QuantisedConv(bits, 2, 3, 3, start=2.0)))
    hole = space.model[0]
    assert [name for name, _ in hole.named_parameters()] == ["clip_2", "clip_4", "whole.weight"]
    space(torch.rand(2, 2, 4, 4), {"bits": "w2a4"}).sum().backward()
    assert hole.clip_2.grad is None
    assert hole.clip_4.grad is not None
    child = space.derive({"bits": "w2a4"})[0]
    assert torch.equal(child.weight, hole.whole.weight), "a float, rounded anew each time"
    assert (child.weight_bits, child.activation_bits, child.clip.item()) == (2, 4, 2.0)
    plain = space.derive({"bits": "w32a32"})
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(plain(x), nn.functional.conv2d(x, hole.whole.weight, padding=1))
    assert bitops(space.derive({"bits": "w2a4"}), (2, 4, 4)) == 8 * macs(plain, (2, 4, 4)) == 8 * 16 * 3 * 2 * 9


def test_a_child_trains_with_its_bits_fixed():
    with seeded(1):
        space = Space(nn.Sequential(QuantisedConv(Decision("bits", ("w2a2",)), 1, 2, 3, start=1.0)))
    child, x = space.derive({"bits": "w2a2"}), torch.rand(8, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 2
    optimiser = torch.optim.SGD(child.parameters(), 0.1)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = (child(x).mean((1, 2, 3)) - x.mean((1, 2, 3))).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert min(losses[-5:]) < losses[0] / 4
    assert quantised_weights(child[0].weight.detach(), 2).unique().numel() <= 4


def test_bits_are_one_to_eight_each_or_those_of_floats():
    assert [pair(option) for option in ("w1a8", "w8a1", "w32a4")] == [(1, 8), (8, 1), (32, 4)]
    for option in ("w9a4", "w4a9", "w0a4", "w31a4", "w33a4", "4", "w2a4x", 24, None):
        with pytest.raises(ValueError, match="of 1 to 8 each or 32"):
            pair(option)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("bits", "weights", "activations"), [("w2a4", 2, 4), ("w4a2", 4, 2), ("w1a32", 1, 32)])
def test_a_convolution_rounds_its_weights_and_inputs_and_keeps_the_side_at_stride_one(
    bits, weights, activations, stride
):
    with seeded(0):
        conv = QuantisedConv2d(2, 3, 3, stride, bits, start=1.5)
    x = 2 * torch.rand(2, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    rounded = quantised_activations(x, torch.tensor(1.5), activations)
    expected = nn.functional.conv2d(rounded, quantised_weights(conv.weight, weights), stride=stride, padding=1)
    torch.testing.assert_close(conv(x), expected)
    assert (conv.weight_bits, conv.activation_bits, conv.bias) == (weights, activations, None)
    assert (conv.clip is None) is (activations == 32)
    assert repr(conv).endswith(f"bias=False, bits=w{weights}a{activations})")


def test_clips_begin_at_ten_as_published_or_where_told_and_again_when_they_are_reset():
    assert CLIP == 10
    assert QuantisedConv2d(1, 1, 1, 1, "w2a2").clip.item() == 10
    assert QuantisedConv(Decision("bits", ("w2a3",)), 1, 1, 3).clip_3.item() == 10
    child = QuantisedConv2d(1, 1, 1, 1, "w2a2", start=3.0)
    hole = QuantisedConv(Decision("bits", ("w2a3", "w4a5")), 1, 1, 3, start=3.0)
    with torch.no_grad():
        for clip in (child.clip, hole.clip_3, hole.clip_5):
            assert clip.item() == 3
            clip.fill_(0.5)
    weight = hole.whole.weight.clone()
    child.reset_parameters()
    hole.reset_parameters()
    assert [clip.item() for clip in (child.clip, hole.clip_3, hole.clip_5)] == [3, 3, 3]
    assert torch.equal(hole.whole.weight, weight), "which is another module's to reset"
    QuantisedConv2d(1, 1, 1, 1, "w2a32").reset_parameters()


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("bits", ["w2a2", "w3a4", "w32a2", "w4a32"])
def test_a_space_and_its_child_round_the_slice_that_is_left(bits, kernel, stride):
    options = Decision("bits", ("w2a2", "w3a4", "w32a2", "w4a32"))
    with seeded(0):
        hole = QuantisedConv(options, Number.open("in", (2, 3)), Number.open("out", (1, 4)), kernel, stride, 1.0)
    space, x = Space(nn.Sequential(hole)), torch.rand(2, 2, 6, 5, generator=torch.Generator().manual_seed(0)) * 2
    assert set(space.decisions) == {"bits", "in", "out"}
    arch = {"bits": bits, "in": 2, "out": 1}
    if bits in ("w2a2", "w32a2"):
        hole.clip_2.requires_grad_(False).fill_(0.7)
    clip, (w, a) = torch.tensor(0.7 if pair(bits)[1] == 2 else 1.0), pair(bits)
    weight = quantised_weights(hole.whole.weight[:1, :2], w)
    expected = nn.functional.conv2d(quantised_activations(x, clip, a), weight, stride=stride, padding=kernel // 2)
    child = space.derive(arch)
    torch.testing.assert_close(space(x, arch), expected)
    torch.testing.assert_close(child(x), expected)
    assert (child[0].stride, child[0].kernel_size) == ((stride, stride), (kernel, kernel))
    if a != 32:
        assert child[0].clip.requires_grad is (a != 2)
        assert child[0].clip is not hole.get_parameter(f"clip_{a}")
        child[0].reset_parameters()
        assert child[0].clip.item() == 1
