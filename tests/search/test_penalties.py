"""search.penalties: numbers that a reader can work out."""

import pytest
import torch

from tests.search.toys import cells, logits_of
from winnow.search.penalties import beta_decay, expected_cost, flooding
from winnow.search.relax import gates, softmax


@pytest.mark.parametrize(("name", "options", "expected"), [("nas_bench_201", 5, 1.609438), ("darts", 8, 2 * 2.079442)])
def test_beta_decay_of_equal_logits_is_the_log_of_the_options_once_a_cell_type(name, options, expected):
    space = cells(name)
    logits = logits_of(space, scale=0.0)
    assert beta_decay(space, 1.0)(logits).item() == pytest.approx(expected, abs=1e-5)
    assert len(next(iter(logits.values()))) == options


def test_the_gradient_of_beta_decay_is_the_weight_over_the_edges():
    space = cells("darts")
    logits = logits_of(space).double()
    beta_decay(space, 1.0)(logits).backward()
    for name, weights in softmax(logits).items():
        torch.testing.assert_close(logits[name].grad, weights.detach() / 14, rtol=0, atol=1e-12)


def test_pure_beta_decay_goes_where_the_published_rule_goes():
    """Six edges from (3, 1, 0, -1, -2), SGD of rate 0.1: the sheet of the method tells the numbers."""
    space = cells()
    logits = logits_of(space).double()
    for vector in logits.values():
        vector.data = torch.tensor([3.0, 1, 0, -1, -2], dtype=torch.float64)
    optimiser = torch.optim.SGD(logits.parameters(), 0.1)
    seen = {}
    for step in range(1, 2001):
        optimiser.zero_grad()
        beta_decay(space, 1.0)(logits).backward()
        optimiser.step()
        seen[step] = float(softmax(logits)["1<-0"].detach().max())
    assert [seen[step] for step in (500, 1000, 1500, 2000)] == pytest.approx([0.294, 0.219, 0.2037, 0.2007], abs=5e-4)
    assert logits["1<-0"].detach().mean().item() == pytest.approx(-6.4667, abs=1e-3)


def test_one_step_of_decay_multiplies_each_weight_by_the_theorys_factor():
    alpha, rate = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), 0.7
    beta = alpha.softmax(0)
    after = (alpha - rate * beta).softmax(0)
    theta = alpha.exp().sum() / ((rate * (beta[:, None] - beta[None, :])).exp() * alpha.exp()).sum(1)
    torch.testing.assert_close(after, theta * beta, rtol=0, atol=1e-12)


def test_a_constant_added_to_an_edge_changes_no_gradient():
    space = cells()
    grads = []
    for shift in (0.0, 5.0):
        logits = logits_of(space).double()
        logits["1<-0"].data += shift
        value = beta_decay(space, 2.0)(logits)
        value.backward()
        grads.append((value.item(), logits["1<-0"].grad))
    assert grads[1][0] - grads[0][0] == pytest.approx(2.0 * 5 / 6)
    torch.testing.assert_close(grads[0][1], grads[1][1])


def test_flooding_descends_above_and_ascends_below():
    for loss, value, slope in ((1.5, 1.5, 1.0), (0.5, 1.5, -1.0)):
        x = torch.tensor(loss, requires_grad=True)
        flooding(1.0)(x).backward()
        assert flooding(1.0)(x).item() == value
        assert x.grad.item() == slope
    x = torch.rand(5)
    assert torch.equal(flooding(0.0)(x), x)


def test_cost_counts_only_above_its_budget_and_goes_through_the_gates():
    space = cells()
    logits = logits_of(space, scale=0.0)
    costs = {"1<-0": torch.tensor([0.1, 0.2, 0.3, 0.0, 0.0])}
    relax = gates(100.0, 1.0)
    assert expected_cost(relax, costs, 2.0)(logits).item() == pytest.approx(0.6)  # every gate at one half
    assert expected_cost(relax, costs, 2.0, budget=0.4)(logits).item() == 0
    expected_cost(relax, costs, 2.0)(logits).backward()
    torch.testing.assert_close(logits["1<-0"].grad, 2 * costs["1<-0"] / 4)
    assert logits["2<-0"].grad is None


@pytest.mark.parametrize(("budget", "penalty"), [(0.1, 0.4), (0.3, 0.0), (0.5, 0.0), (-0.1, 0.8)])
def test_what_is_spent_above_a_budget_is_paid_for_by_the_strength(budget, penalty):
    """Shares of 0.1, 0.2 and 0.3, each half open; of a decision without costs nothing is paid."""
    logits = {"a": torch.zeros(3, requires_grad=True), "b": torch.ones(2, requires_grad=True)}
    found = expected_cost(gates(1.0, 1.0), {"a": torch.tensor([0.1, 0.2, 0.3])}, 2.0, budget)(logits)
    assert found.item() == pytest.approx(penalty, abs=1e-6)
