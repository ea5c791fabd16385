"""search.relax: logits beside the network, and what softmax makes of them."""

import math
import random

import pytest
import torch
from torch import Tensor, nn

from tests.search.toys import cells, images, logits_of, one_hot, smooth
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import NUMBER, Choice
from winnow.core.space import Space
from winnow.search.relax import Logits, deciding, gates, gumbel, sampled, softmax, straight_through


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


# draws and gates


def rows() -> Tensor:
    """The logits of one decision."""
    return torch.tensor([0.5, -0.5, 1.5])


@pytest.mark.parametrize("relax", [gumbel, straight_through])
def test_draws_follow_the_softmax_of_the_logits(relax):
    draw, seen = relax(0.5, generator(0)), torch.zeros(3)
    for _ in range(3000):
        weights = draw({"a": rows()})["a"]
        assert float(weights.sum()) == pytest.approx(1, abs=1e-5)
        seen[weights.argmax()] += 1
    expected = 3000 * rows().softmax(0)
    assert (
        float(((seen - expected) ** 2 / expected).sum()) < 13.8
    )  # chi-square, two degrees of freedom, one in a thousand


def test_a_small_temperature_is_nearly_one_hot_and_a_large_one_nearly_equal():
    cold, hot = (gumbel(t, generator(0))({"a": rows()})["a"] for t in (0.01, 1000.0))
    assert float(cold.max()) > 0.99
    torch.testing.assert_close(hot, torch.full((3,), 1 / 3), atol=5e-3, rtol=0)


def test_straight_through_has_the_value_of_the_choice_and_the_gradient_of_the_soft_weights():
    of = torch.tensor([1.0, -2.0, 0.3])
    grads = []
    for relax in (gumbel, straight_through):
        logits = rows().requires_grad_()
        weights = relax(0.7, generator(3))({"a": logits})["a"]
        (weights * of).sum().backward()
        grads.append(logits.grad)
    torch.testing.assert_close(weights.detach().sort().values, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("undrawn", [False, True])
def test_a_sampled_setting_computes_one_candidate_and_its_weight_carries_the_gradient(undrawn):
    space, (x, _) = cells(), images(4)
    space.eval()
    logits = logits_of(space)
    logits["3<-0"].data[0] = 4.0  # none
    setting = sampled(space, 5.0, generator(0), undrawn)(logits)
    arch = {name: next(iter(weights)) for name, weights in setting.items()}
    assert {tuple(weights)[1:] for weights in setting.values()} == {(NUMBER,) if undrawn else ()}
    torch.testing.assert_close(space(x, setting), space(x, arch), rtol=1e-4, atol=1e-5)
    space.board.plain = True
    torch.testing.assert_close(space(x, setting), space(x, arch), rtol=1e-4, atol=1e-5)
    space.board.plain = False
    space(x, setting).square().sum().backward()
    moved = {name for name, vector in logits.items() if vector.grad is not None and vector.grad.abs().sum() > 0}
    drew_none = {name for name, option in arch.items() if option == "none"}
    assert drew_none
    assert moved - drew_none
    assert bool(moved & drew_none) is undrawn  # an edge that drew `none` teaches by the others only


@pytest.mark.parametrize("undrawn", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_both_gradients_of_gdas_are_those_of_explicit_sums(undrawn, plain):
    """Dong & Yang 2019, public code: an edge is h_k f_k(x) + the sum over undrawn o of the number h_o, h the one-hot
    sample with the gradient of the soft one. Written out for one cell of NAS-Bench-201, in double precision."""
    space, x = cells().double(), torch.randn(3, 4, 5, 5, generator=generator(3), dtype=torch.float64)
    cell = next(m for m in space.modules() if type(m).__name__ == "Cell").train()
    upstream = torch.randn(x.shape, generator=generator(4), dtype=torch.float64)
    for seed in range(5):
        ours, theirs = logits_of(space), logits_of(space)
        space.board.setting, space.board.plain = sampled(space, 2.0, generator(seed), undrawn)(ours), plain
        out = cell(x)
        (out * upstream).sum().backward()
        soft, nodes = gumbel(2.0, generator(seed))(theirs), {0: x}
        for edge in cell.edges:
            node, source = map(int, edge.decision.name.split("<-"))
            p = soft[edge.decision.name]
            h, k = one_hot_like(p) - p.detach() + p, int(p.argmax())
            y = h[k] * list(edge.candidates.values())[k](nodes[source])
            y = y + sum(h[o] for o in range(len(h)) if o != k) if undrawn else y
            nodes[node] = nodes[node] + y if node in nodes else y
        torch.testing.assert_close(out, nodes[3])
        (nodes[3] * upstream).sum().backward()
        for name, vector in theirs.items():
            wanted = torch.zeros_like(vector) if vector.grad is None else vector.grad
            found = ours[name].grad
            torch.testing.assert_close(
                torch.zeros_like(wanted) if found is None else found, wanted, rtol=1e-9, atol=1e-11
            )


def one_hot_like(weights: Tensor) -> Tensor:
    return torch.zeros_like(weights).scatter_(0, weights.argmax(0, keepdim=True), 1.0)


@pytest.mark.parametrize("theta", [-2.0, -0.1, 0.0, 0.1, 2.0])
def test_a_gate_is_cold_forwards_and_warm_backwards(theta):
    logit = torch.tensor([theta], dtype=torch.float64, requires_grad=True)
    value = gates(10.0, 0.5)({"a": logit})["a"]
    (3 * value).sum().backward()
    soft = 1 / (1 + math.exp(-0.5 * theta))
    assert value.item() == pytest.approx(1 / (1 + math.exp(-10 * theta)), abs=1e-6)
    assert logit.grad.item() == pytest.approx(3 * 0.5 * soft * (1 - soft), abs=1e-6)


@pytest.mark.parametrize("cold", [10.0, 100.0, 1e4])
def test_the_warm_gradient_never_ascends_the_cold_objective(cold):
    """Random quadratics of 50 gates: <g, grad J> >= 0; rounding is within exp(-cold |theta|)."""
    draw = generator(0)
    for _ in range(5):
        a = torch.randn(50, 50, generator=draw, dtype=torch.float64)
        q, c = a @ a.T / 50, torch.randn(50, generator=draw, dtype=torch.float64)
        start = torch.randn(50, generator=draw, dtype=torch.float64)
        grads = []
        for warm in (1.0, cold):
            theta = start.clone().requires_grad_()
            z = gates(cold, warm)({"a": theta})["a"]
            (0.5 * z @ q @ z + c @ z).backward()
            grads.append(theta.grad)
        assert float(grads[0] @ grads[1]) >= 0
        assert ((z.detach() - (start > 0).double()).abs() <= (-cold * start.abs()).exp() + 1e-12).all()


def test_separable_gates_open_exactly_where_they_pay():
    c = torch.linspace(-1, 1, 20, dtype=torch.float64) + 0.2
    theta = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    relax = gates(1e3, 1.0)
    for _ in range(2000):
        theta.grad = None
        (c * relax({"a": theta})["a"]).sum().backward()
        theta.data -= 0.1 * theta.grad
    assert (theta > 0).nonzero().flatten().tolist() == list(range(8))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    for make in (
        lambda t: gumbel(t, generator(0)),
        lambda t: straight_through(t, generator(0)),
        lambda t: gates(t, 1.0),
    ):
        with pytest.raises(Refused, match="a temperature is a number above zero, not"):
            make(temperature)


def test_decided_decisions_are_constants_of_any_relaxation():
    space = smooth()
    logits = logits_of(space)
    setting = deciding(softmax, {"a": "skip"})(logits)
    assert setting["a"] == "skip"
    assert setting["b"].requires_grad


def test_a_decision_may_be_called_what_a_dict_has():
    modules = [Choice(name, {"x": nn.Identity(), "y": nn.Identity()}) for name in ("keys", "half", "items", "a")]
    logits = Logits(Space(nn.Sequential(*modules)), torch.Generator())
    assert set(softmax(logits)) == {"keys", "half", "items", "a"}
    assert "a" in logits.state_dict()
