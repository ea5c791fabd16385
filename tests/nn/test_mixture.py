"""nn.mixture: each shortcut against the sentence that it stands for."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from winnow.nn import mixture
from winnow.nn.depthwise import depthwise
from winnow.nn.mixture import State, add_edges, add_products, add_scaled, scaled_norm
from winnow.nn.ops import darts_op, nb201_op
from winnow.train.seeds import seeded


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.contiguous(memory_format=torch.channels_last)


def norm(affine: bool = False, **options) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(4, affine=affine, **options).double()
    for i, tensor in enumerate(made.state_dict().values()):
        if tensor.dim():
            tensor.copy_(torch.linspace(0.5, 1.5, 4) + i)
    return made


MODES = {
    "train": lambda n: n.train(),
    "eval": lambda n: n.eval(),
    "no tracking": lambda n: setattr(n.train(), "track_running_stats", False),
    "no buffers": lambda n: n.train(),
}


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("momentum", [0.1, None])
def test_scaled_norm_is_weight_times_norm(mode, affine, momentum):
    fast = norm(affine, momentum=momentum, track_running_stats=mode != "no buffers")
    MODES[mode](fast)
    slow = copy.deepcopy(fast)
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for step in range(2):
        x, towards = images(3, 4, 5, 5, seed=step).requires_grad_(), images(3, 4, 5, 5, seed=9)
        found, right = scaled_norm(x, fast, weight), weight * slow(x)
        torch.testing.assert_close(found, right)
        inputs = (x, weight, *fast.parameters())
        expected = torch.autograd.grad(right, (x, weight, *slow.parameters()), towards)
        torch.testing.assert_close(torch.autograd.grad(found, inputs, towards), expected)
    torch.testing.assert_close(fast.state_dict(), slow.state_dict())


def test_add_scaled_adds_in_place_and_differentiates_twice():
    x, weights = images(2, 3, 2, 2).requires_grad_(), images(2, 1, 1, 1).flatten().requires_grad_()
    starts = [images(2, 3, 2, 2, seed=i).requires_grad_() for i in (1, 2)]

    def sums(x, weights, *starts):
        return add_scaled([start.clone() for start in starts], x, weights.unbind())

    for total, start, weight in zip(sums(x, weights, *starts), starts, weights, strict=True):
        torch.testing.assert_close(total, start + weight * x)
    assert torch.autograd.gradcheck(sums, (x, weights, *starts))
    assert torch.autograd.gradgradcheck(sums, (x, weights, *starts))
    total = starts[0].detach().clone()
    (same,) = add_scaled([total], x.detach(), weights[:1].detach())
    assert same is total


def test_edges_of_one_state_share_its_relu_and_its_pools():
    state = State(images(2, 4, 6, 6))
    first, second = (darts_op("avg_pool_3x3", 4, 1, False).double() for _ in range(2))
    assert state.shared(first) is state.shared(second)
    assert torch.equal(first[1].running_mean, second[1].running_mean)  # though computed once, both have seen it
    assert state.shared(darts_op("max_pool_3x3", 4, 1, False).double()) is not state.shared(first)
    assert state.shared(darts_op("avg_pool_3x3", 4, 2, False).double()).shape == (2, 4, 3, 3)
    assert state.shared(nb201_op("skip_connect", 4, False)) is state.x
    assert state.shared(nb201_op("nor_conv_3x3", 4, False)) is None
    first.eval()
    assert state.shared(first) is not state.shared(second)  # running statistics are each norm's own


def test_add_products_adds_in_place_and_differentiates_twice():
    x, kernels = images(2, 3, 2, 2).requires_grad_(), images(2, 3, 3, 1)[..., 0].contiguous().requires_grad_()
    starts = [images(2, 3, 2, 2, seed=i).requires_grad_() for i in (1, 2)]

    def sums(x, kernels, *starts):
        return add_products([start.clone() for start in starts], x, kernels.unbind())

    for total, start, kernel in zip(sums(x, kernels, *starts), starts, kernels, strict=True):
        torch.testing.assert_close(total, start + torch.einsum("nchw,cd->ndhw", x, kernel))
    assert torch.autograd.gradcheck(sums, (x, kernels, *starts))
    assert torch.autograd.gradgradcheck(sums, (x, kernels, *starts))
    total = starts[0].detach().clone()
    (same,) = add_products([total], x.detach(), [kernels[0].detach()])
    assert same is total


def test_a_centred_state_differentiates_twice():
    def parts(x):
        centred, _, covariances = State(x).centred
        return centred, covariances

    x = (images(2, 3, 3, 3) + 3).requires_grad_()  # above 0, where ReLU has no kink
    assert torch.autograd.gradcheck(parts, x)
    assert torch.autograd.gradgradcheck(parts, x)
    centred, means, covariances = State(x).centred
    rows = x.detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(means, rows.mean(1))
    torch.testing.assert_close(covariances, torch.cov(rows, correction=0))
    assert centred.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shift", [0, 1000])  # a difference of two moments would be off by a tenth there
def test_pointwise_candidates_are_one_product_where_their_norm_is_of_the_batch(mode, shift):
    with seeded(0):
        made = [nb201_op("nor_conv_1x1", 4, False) for _ in range(2)]
    for candidate in made:
        candidate[2] = norm(track_running_stats=mode != "no buffers").float()
        MODES[mode](candidate[2])
    plain = copy.deepcopy(made)
    weights = [torch.tensor(0.3, requires_grad=True), torch.tensor(0.7, requires_grad=True)]
    x, start, towards = (images(3, 4, 5, 5, seed=i).float() for i in range(3))
    x = (x + shift).requires_grad_()
    state = State(x)
    assert (state.product(copy.deepcopy(made[0]), weights[0]) is None) == (mode == "eval")
    edges = [(nn.ModuleDict({"it": c}), {"it": w}) for c, w in zip(made, weights, strict=True)]
    totals = add_edges([start.clone(), None], x, edges)
    exact = [each.detach().double().requires_grad_() for each in (x, *weights)]  # in float32 the plain form is off, too
    right = [start + exact[1] * plain[0].double()(exact[0]), exact[2] * plain[1].double()(exact[0])]
    close = partial(torch.testing.assert_close, atol=1e-3 if shift else 1e-5, rtol=1e-3, check_dtype=False)
    for found, expected in zip(totals, right, strict=True):
        close(found, expected)
    found = torch.autograd.grad(totals, [x, *weights], [towards, towards.flip(0)])
    expected = torch.autograd.grad(right, exact, [towards.double(), towards.double().flip(0)])
    for one, other in zip(found, expected, strict=True):
        close(one, other, atol=2e-2 if shift else 1e-5)  # as far off as the plain form's, in sums of 75 numbers
    for candidate, other in zip(made, plain, strict=True):
        close(candidate.state_dict(), other.state_dict(), atol=1e-2 if shift else 1e-5, rtol=1e-4)


def test_a_batch_of_one_pixel_is_told_by_the_norm_itself():
    edge = nn.ModuleDict({"it": nb201_op("nor_conv_1x1", 4, False)}), {"it": torch.tensor(0.5)}
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        add_edges([None], images(1, 4, 1, 1).float(), [edge])


def test_candidates_it_has_never_seen_are_called():
    candidates = nn.ModuleDict({"mine": nn.Conv2d(4, 4, 3, padding=1).double(), "none": nb201_op("none", 4, False)})
    x, weight = images(2, 4, 5, 5), torch.tensor(0.7)
    (total,) = add_edges([None], x, [(candidates, {"mine": weight, "none": weight})])
    torch.testing.assert_close(total, weight * candidates["mine"](x))
    assert add_edges([None], x, [(candidates, {"none": weight})]) == [None]


class Casts(TorchDispatchMode):
    """Counts what is made bfloat16 and what is made float32, of maps and of kernels."""

    def __init__(self):
        super().__init__()
        self.of = {"maps": [], "kernels": []}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._to_copy.default:
            self.of["maps" if args[0].shape[2] > 3 else "kernels"].append(kwargs["dtype"])
        return function(*args, **(kwargs or {}))


def weighed(ops, x, make):
    """`x` through candidates of 16 channels that leave it, added up by halves."""
    edges = [(nn.ModuleDict({op: make(op)}), {op: torch.tensor(0.5)}) for op in ops]
    return sum(add_edges([None] * len(edges), x, edges))


def test_under_autocast_dense_convolutions_alone_leave_float32(monkeypatch):
    seen, real = set(), F.conv2d

    def conv2d(x, weight, *more, **named):
        seen.add((x.dtype, *weight.shape[1:]))
        return real(x, weight, *more, **named)

    monkeypatch.setattr(F, "conv2d", conv2d)
    x = images(2, 16, 8, 8).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = weighed(["avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5"], x, lambda op: darts_op(op, 16, 1, False))
        assert seen == {(torch.float32, 1, 3, 3), (torch.float32, 1, 5, 5), (torch.float32, 16, 1, 1)}
        seen.clear()
        found = found + weighed(["nor_conv_3x3", "nor_conv_1x1"], x.bfloat16(), lambda op: nb201_op(op, 16, False))
        assert seen == {(torch.bfloat16, 16, 3, 3)}  # the other one is a product with its norm, in float32
        assert torch.is_autocast_enabled("cpu")
    assert found.dtype == torch.float32


def test_under_autocast_a_state_is_cast_once():
    x = images(2, 16, 8, 8).float()
    with torch.autocast("cpu", torch.bfloat16), Casts() as casts:
        weighed(["nor_conv_3x3"] * 3, x, lambda op: nb201_op(op, 16, False))
    assert casts.of["maps"] == [torch.bfloat16, *[torch.float32] * 3]  # the ReLU, and each sum for its norm
    assert casts.of["kernels"] == [torch.bfloat16] * 3


def test_under_autocast_sums_and_gradients_are_near_those_of_float32():
    torch.manual_seed(0)
    candidates = [nb201_op("nor_conv_3x3", 16, False) for _ in range(3)]
    found = []
    for low in (False, True):
        x, made = images(4, 16, 8, 8).float().requires_grad_(), iter(candidates)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            total = weighed(["nor_conv_3x3"] * 3, x, lambda op, made=made: next(made))
        total.square().sum().backward()
        found.append((total.detach(), x.grad, candidates[0][1].weight.grad.clone()))
        candidates[0].zero_grad()
    for exact, near in zip(*found, strict=True):
        assert near.dtype == torch.float32
        assert 0 < (exact - near).norm() < 0.03 * exact.norm()


DARTS = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


@pytest.mark.parametrize("sides", [(8, 6), (7, 9)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", DARTS)
def test_each_darts_candidate_is_what_it_is_alone(monkeypatch, name, stride, sides):
    """And its depthwise convolutions are those whose gradients are quick."""
    with seeded(0):
        candidate = darts_op(name, 4, stride, False).double()
    calls: list[int] = []
    monkeypatch.setattr(mixture, "depthwise", lambda *given: calls.append(1) or depthwise(*given))
    x, weight = images(2, 4, *sides).requires_grad_(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    (found,) = add_edges([None], x, [(nn.ModuleDict({name: candidate}), {name: weight})])
    right = weight * candidate(x)
    torch.testing.assert_close(found, right)
    towards, inputs = images(*right.shape, seed=1), (x, weight)
    torch.testing.assert_close(torch.autograd.grad(found, inputs, towards), torch.autograd.grad(right, inputs, towards))
    assert len(calls) == {"sep": 2, "dil": 1}.get(name[:3], 0)
