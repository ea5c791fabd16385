"""holes: elastic layers and depth. What every space promises of them is in the contract suite."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from winnow.core.decision import Number
from winnow.core.space import Space
from winnow.holes.depth import Depth
from winnow.holes.elastic import Conv, Elastic, Linear, Norm
from winnow.train.evaluate import batch_statistics


def ofa() -> Space:
    """The decisions of OFA's MobileNetV3 space: five units of 2 to 4 blocks, each of three ratios and kernels."""

    def block(name: str) -> nn.Module:
        ratio, kernel = Number.open(f"{name}/ratio", (3, 4, 6)), Number.open(f"{name}/kernel", (3, 5, 7))
        middle = ratio.map(lambda r: 2 * r)
        return nn.Sequential(
            Conv(2, middle), Norm(middle), Conv(middle, middle, kernel, depthwise=True), Conv(middle, 2)
        )

    return Space(
        nn.Sequential(*(Depth(f"{u}/depth", [block(f"{u}/{b}") for b in range(4)], (2, 3, 4)) for u in range(5)))
    )


def test_the_published_number_of_architectures_is_counted_at_once():
    """Cai et al. 2020, section 3.1: "roughly 2 x 10^19"; exactly ((3^2)^2 + (3^2)^3 + (3^2)^4)^5."""
    with torch.device("meta"):
        space = ofa()
    began = time.process_time()
    assert space.count() == 21_758_655_492_572_485_851 == (9**2 + 9**3 + 9**4) ** 5
    assert time.process_time() - began < 5


def test_smaller_selves_take_the_first_channels_and_the_centre_of_the_kernel():
    width, kernel = Number.open("width", (1, 2)), Number.open("kernel", (1, 3))
    space = Space(nn.Sequential(Conv(1, width, kernel, bias=True)))
    whole = space.model[0].whole
    child = space.derive({"width": 1, "kernel": 1})[0]
    assert child.weight.item() == whole.weight[0, 0, 1, 1].item()
    assert child.bias.item() == whole.bias[0].item()
    assert (child.kernel_size, child.padding) == ((1, 1), (0, 0))


def test_what_is_beyond_the_slice_gets_no_gradient_and_dropped_blocks_none():
    space = ofa()
    arch = space.decide(lambda d: d.values[0])
    space(torch.randn(2, 2, 4, 4), arch).square().sum().backward()
    first, dropped = space.model[0].chain[0], space.model[0].chain[3]
    assert first[0].whole.weight.grad[:6].abs().sum() > 0
    assert first[0].whole.weight.grad[6:].abs().sum() == 0
    depthwise = first[2].whole.weight.grad.clone()
    assert depthwise[:6, :, 2:5, 2:5].abs().sum() > 0
    depthwise[:6, :, 2:5, 2:5] = 0
    assert not depthwise.any()
    assert all(p.grad is None for p in dropped.parameters())
    assert first[1].whole.running_mean[6:].abs().sum() == 0


def test_the_largest_is_the_whole_network_in_its_mode_and_frozen_as_it_was():
    space = Space(nn.Sequential(Linear(3, Number.open("out", (1, 2))), nn.ReLU()))
    space.model[0].whole.weight.requires_grad_(False)
    space.model[0].whole.eval()
    child = space.derive({"out": 2})[0]
    assert torch.equal(child.weight, space.model[0].whole.weight)
    assert not child.weight.requires_grad
    assert child.bias.requires_grad
    assert not child.training


def test_norms_of_a_child_go_on_from_the_statistics_of_the_whole():
    norm = Norm(Number.open("c", (2, 4)), momentum=0.5)
    space = Space(nn.Sequential(norm))
    space(torch.randn(8, 4, 2, 2) + 3, {"c": 4})
    child = space.derive({"c": 2})[0]
    assert torch.equal(child.running_mean, norm.whole.running_mean[:2])
    assert (child.momentum, int(child.num_batches_tracked)) == (0.5, 1)


def test_norms_leave_their_statistics_alone_where_the_batch_is_asked_for():
    space = Space(nn.Sequential(Norm(Number.open("c", (2, 4)))))
    before, x = {name: t.clone() for name, t in space.state_dict().items()}, torch.randn(8, 2, 3, 3) + 3
    with batch_statistics(space.eval()):
        assert space(x, {"c": 2}).mean().abs() < 1e-5
    assert all(torch.equal(tensor, before[name]) for name, tensor in space.state_dict().items())
    space.train()(x, {"c": 2})
    assert space.model[0].whole.num_batches_tracked == 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Conv(1, 1, Number.open("k", (3, 4))), "odd: not 4"),
        (lambda: Conv(1, 1, Number.open("k", (5, 8, 6))), "odd: not 6"),
        (lambda: Conv(1, 1, 2), "odd: not 2"),
        (lambda: Depth("d", [nn.ReLU()], (1, 2)), "a chain of 1 has no depth 2"),
    ],
)
def test_what_cannot_be_cut_is_refused_where_it_is_built(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_a_child_of_an_outline_is_one_and_deriving_draws_nothing():
    with torch.device("meta"):
        space = Space(nn.Sequential(Conv(1, Number.open("c", (1, 2))), Norm(Number.open("c", (1, 2)))))
    child = space.derive({"c": 1})
    assert all(tensor.is_meta for tensor in child.state_dict().values())
    space = ofa()
    before = torch.get_rng_state()
    space.derive(space.decide(lambda d: d.values[0]))
    assert torch.equal(torch.get_rng_state(), before)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_layer_asks_each_decision_of_its_numbers_once():
    width = Number.open("width", (1, 2))
    layer = Elastic(a=width, b=width.map(lambda w: 10 * w), c=7, d=Number.open("d", (4, 5)))
    assert [d.name for d in layer.decisions] == ["width", "d"]
    assert layer.sizes({"width": 2, "d": 4}) == {"a": 2, "b": 20, "c": 7, "d": 4}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("c", "kernel"), [(2, 1), (3, 3), (4, 5), (4, 1), (2, 5)])
def test_a_convolution_is_that_of_the_first_channels_and_the_centre(c, kernel, depthwise, bias, stride):
    width, side = Number.open("c", (2, 3, 4)), Number.open("kernel", (1, 3, 5))
    out = width if depthwise else width.map(lambda w: w + 1)
    hole = Conv(width, out, side, stride, depthwise=depthwise, bias=bias)
    space, x, edge = Space(nn.Sequential(hole)), drawn(2, c, 6, 7), (5 - kernel) // 2
    outputs, inputs = (c, 1) if depthwise else (c + 1, c)
    weight = hole.whole.weight[:outputs, :inputs, edge : 5 - edge, edge : 5 - edge]
    shift = hole.whole.bias[:outputs] if bias else None
    expected = F.conv2d(x, weight, shift, stride, kernel // 2, groups=c if depthwise else 1)
    child = space.derive({"c": c, "kernel": kernel})
    torch.testing.assert_close(space(x, {"c": c, "kernel": kernel}), expected)
    torch.testing.assert_close(child(x), expected)
    assert child[0].weight.shape == weight.shape
    assert (child[0].stride, child[0].groups) == ((stride, stride), c if depthwise else 1)
    assert (child[0].bias is None) is not bias


def test_a_convolution_is_pointwise_and_without_a_bias_unless_told():
    conv = Conv(2, Number.open("c", (1, 3)))
    assert conv.whole.weight.shape == (3, 2, 1, 1)
    assert (conv.whole.bias, conv.whole.stride, conv.whole.groups) == (None, (1, 1), 1)


@pytest.mark.parametrize("bias", [True, False, None])
def test_a_linear_layer_is_that_of_the_first_inputs_and_outputs(bias):
    inputs, outputs = Number.open("in", (2, 4)), Number.open("out", (1, 3))
    hole = Linear(inputs, outputs) if bias is None else Linear(inputs, outputs, bias)
    space = Space(nn.Sequential(hole))
    assert (hole.whole.bias is None) is (bias is False)
    for a, b in ((2, 1), (2, 3), (4, 1)):
        x = drawn(5, a)
        expected = x @ hole.whole.weight[:b, :a].T + (0 if bias is False else hole.whole.bias[:b])
        child = space.derive({"in": a, "out": b})
        torch.testing.assert_close(space(x, {"in": a, "out": b}), expected)
        torch.testing.assert_close(child(x), expected)
        assert (child[0].in_features, child[0].out_features) == (a, b)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("momentum", "share"), [(0.5, 0.5), (0.1, 0.1)])
def test_a_norm_is_that_of_the_first_channels_and_moves_their_statistics_alone(affine, momentum, share):
    hole = Norm(Number.open("c", (1, 3)), momentum=momentum, affine=affine, eps=0.25)
    space, x = Space(nn.Sequential(hole)), drawn(4, 1, 2, 3) * 3 + 1
    if affine:
        with torch.no_grad():
            hole.whole.weight.copy_(torch.tensor([2.0, 3.0, 4.0]))
            hole.whole.bias.copy_(torch.tensor([-1.0, 5.0, 6.0]))
    scale, shift = (2, -1) if affine else (1, 0)
    mean, var, unbiased = x.mean(), x.var(unbiased=False), x.var()
    torch.testing.assert_close(space(x, {"c": 1}), scale * (x - mean) / (var + 0.25).sqrt() + shift)
    kept, spread = share * mean, 1 - share + share * unbiased
    torch.testing.assert_close(hole.whole.running_mean, torch.tensor([float(kept), 0, 0]))
    torch.testing.assert_close(hole.whole.running_var, torch.tensor([float(spread), 1, 1]))
    assert int(hole.whole.num_batches_tracked) == 1
    space.eval()
    expected = scale * (x - kept) / (spread + 0.25).sqrt() + shift
    child = space.derive({"c": 1})
    torch.testing.assert_close(space(x, {"c": 1}), expected)
    torch.testing.assert_close(child(x), expected)
    assert (int(hole.whole.num_batches_tracked), child[0].num_features, child[0].affine) == (1, 1, affine)
    assert (child[0].eps, child[0].momentum) == (0.25, momentum)


def test_a_child_has_copies_and_not_the_values_of_its_space():
    width = Number.open("c", (2, 3))
    space = Space(nn.Sequential(Conv(2, width, bias=True), Norm(width), nn.Flatten(), Linear(width, 2)))
    before = {name: tensor.clone() for name, tensor in space.state_dict().items()}
    child = space.derive({"c": 3})
    with torch.no_grad():
        for tensor in child.state_dict().values():
            tensor.fill_(7)
    assert all(torch.equal(tensor, before[name]) for name, tensor in space.state_dict().items())
    assert all(parameter.requires_grad for parameter in child.parameters())
