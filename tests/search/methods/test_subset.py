"""search.methods.subset: what it keeps, and that the weights hang on the architecture rather than the other way."""

import math

import pytest
import torch

from tests.search.planted import SEES, planted, search
from tests.search.toys import cells, snapshot
from winnow.search.methods.subset import subset, unit_costs
from winnow.search.relax import gates
from winnow.search.selections.threshold import threshold


def opened(logits) -> dict[str, int]:
    return {name: int((vector > 0).sum()) for name, vector in logits.items()}


def test_a_candidate_costs_its_share_of_parameters_and_none_is_free():
    costs = unit_costs(cells())
    assert math.isclose(sum(float(cost.sum()) for cost in costs.values()), 1, rel_tol=1e-5)
    of_edge = costs["1<-0"]
    assert of_edge[0] == of_edge[1] == of_edge[4] > 0
    counts = [sum(9 * c * c for c in (4, 8, 16)), sum(c * c for c in (4, 8, 16))]
    assert float(of_edge[3] / of_edge[2]) == pytest.approx((counts[0] + 1) / (counts[1] + 1))


def test_a_high_price_closes_every_gate_and_none_keeps_them_open():
    closed = search(subset, strength=1000.0, weights="alternating", logits_lr=0.2)[1]
    assert set(opened(closed).values()) == {0}
    free = search(subset, strength=0.0, weights="inherited", epochs=2)[1]
    assert min(opened(free).values()) >= 1


def test_the_planted_candidates_stay_under_a_price():
    space, logits, _ = search(subset, strength=0.3, weights="alternating", epochs=30, start=0.2)
    weights = {name: gate.detach() for name, gate in gates(1.0, 1.0)(logits).items()}
    assert set(threshold(space, weights, 0.5).values()) == {SEES}


@pytest.mark.parametrize("policy", ["inherited", "frozen", "resampled"])
def test_only_alternating_trains_weights(policy):
    space = planted()
    before = snapshot(space)
    search(subset, space, weights=policy, draws=2, epochs=2)
    after = snapshot(space)
    same = [torch.equal(after[key], before[key]) for key in before]
    assert all(same) if policy == "inherited" else not any(same)  # others hang fresh draws
    assert all(p.grad is None for p in space.parameters())


def test_frozen_draws_are_the_same_at_every_step_and_resampled_ones_are_not():
    seen = {}
    for policy in ("frozen", "resampled"):
        space = planted()
        weights = []
        space.register_forward_pre_hook(lambda m, *_, to=weights: to.append(m.state_dict()["model.3.weight"].clone()))
        search(subset, space, weights=policy, draws=1, epochs=1)
        seen[policy] = {tuple(w.flatten().tolist()) for w in weights[:4]}
    assert len(seen["frozen"]) == 1
    assert len(seen["resampled"]) == 4


def test_gates_find_the_optimum_of_most_quadratics():
    """200 problems J = z'Qz/2 + c'z + 0.1 sum z of ten gates at once: the best subset seen is the best of all 1,024."""
    draw = torch.Generator().manual_seed(0)
    a = torch.randn(200, 10, 10, generator=draw)
    q, c = a @ a.transpose(1, 2) / 10, torch.randn(200, 10, generator=draw) + 0.1

    def value(z):
        return 0.5 * torch.einsum("ni,nij,nj->n", z, q, z) + (c * z).sum(1)

    theta = (0.01 * torch.randn(200, 10, generator=draw)).requires_grad_()
    relax, best = gates(100.0, 1.0), torch.full((200,), math.inf)
    for _ in range(1500):
        theta.grad = None
        value(relax({"a": theta})["a"]).sum().backward()
        with torch.no_grad():
            theta -= 0.05 * theta.grad
            best = torch.minimum(best, value((theta > 0).float()))
    every = torch.tensor([[i >> bit & 1 for bit in range(10)] for i in range(1024)], dtype=torch.float32)
    values = 0.5 * torch.einsum("ki,nij,kj->nk", every, q, every) + c @ every.T
    assert float((best <= values.min(1).values + 1e-4).float().mean()) >= 0.75
