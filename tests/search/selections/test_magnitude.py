"""search.selections.magnitude: what is kept of which weights."""

import random

import pytest
import torch
from torch import nn

from tests.search.toys import cells, logits_of
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude

DARTS = cells("darts")
EDGES = [name for name, d in DARTS.decisions.items() if d.pick == 1]


def weights(space: Space, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: vector.detach() for name, vector in softmax(logits_of(space, scale=1.0, seed=seed)).items()}


@pytest.mark.parametrize("seed", range(5))
def test_a_darts_cell_is_well_formed_and_scored_as_in_the_paper(seed):
    found, given = magnitude(DARTS, weights(DARTS, seed)), weights(DARTS, seed)
    operations = DARTS.decisions["normal/2/0"].options
    for kind in ("normal", "reduce"):
        pairs = 0
        for node in (2, 3, 4, 5):
            best = {s: max(given[f"{kind}/{node}/{s}"][1:]).item() for s in range(node)}  # but for `none`
            kept = found[f"{kind}/{node}"]
            assert len(set(kept)) == 2
            assert set(kept) == set(sorted(best, key=best.get)[-2:])
            for source in kept:
                answer = found[f"{kind}/{node}/{source}"]
                assert answer != "none"
                assert answer == operations[1 + int(given[f"{kind}/{node}/{source}"][1:].argmax())]
                pairs += 1
        assert pairs == 8
    assert len(found) == 24  # edges that no node kept are not answered
    assert DARTS.derive(found)(torch.randn(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("seed", range(3))
def test_none_is_never_selected_and_moves_no_operation(seed):
    logits = logits_of(DARTS, scale=1.0, seed=seed)
    with torch.no_grad():
        for vector in logits.values():
            vector -= vector[1:].logsumexp(0)  # edges alike but for their operations: `none` weighs on all alike
            vector[0] = 0.0
    before = magnitude(DARTS, softmax(logits))
    with torch.no_grad():
        for vector in logits.values():
            vector[0] += 10.0
    assert float(softmax(logits)["normal/2/0"].detach()[0]) > 0.99
    assert magnitude(DARTS, softmax(logits)) == before


def test_none_on_some_edges_makes_them_weaker_against_others():
    flat = {name: torch.full((8,), 1 / 8) for name in EDGES}
    assert magnitude(DARTS, flat)["normal/5"] == (0, 1)
    heavy = {**flat, "normal/5/0": torch.tensor([0.93, *[0.01] * 7])}  # a softmax: none takes from the others
    assert magnitude(DARTS, heavy)["normal/5"] == (1, 2)


def test_nas_bench_201_takes_the_largest_of_each_edge_none_among_them():
    space = cells()
    given = weights(space)
    given["2<-0"] = torch.tensor([0.9, 0.025, 0.025, 0.025, 0.025])
    found = magnitude(space, given)
    assert found["2<-0"] == "none"
    assert all(found[name] == d.options[int(given[name].argmax())] for name, d in space.decisions.items())


def test_ties_go_to_the_earlier_option():
    found = magnitude(DARTS, {name: torch.full((8,), 1 / 8) for name in EDGES})
    assert {found[name] for name in found if name.count("/") == 2} == {"max_pool_3x3"}
    assert {found[f"{kind}/{node}"] for kind in ("normal", "reduce") for node in (2, 3, 4, 5)} == {(0, 1)}


def test_more_weight_on_an_option_never_removes_it():
    space, rng = cells(), random.Random(0)
    for _ in range(20):
        given = weights(space, rng.randrange(10**6))
        name = rng.choice(list(given))
        chosen = magnitude(space, given)[name]
        given[name] = given[name].clone()
        given[name][space.decisions[name].options.index(chosen)] += 0.1
        assert magnitude(space, given)[name] == chosen


def test_candidates_that_nothing_weighs_are_refused():
    space = Space(Choice("node", {"a": nn.Identity(), "b": nn.ReLU(), "c": nn.Tanh()}, pick=2))
    with pytest.raises(Refused, match=r"no logits for option 'a' of decision 'node'.*perturbation or evolution"):
        magnitude(space, {})
