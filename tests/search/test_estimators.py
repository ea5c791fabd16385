"""search.estimators: UNAS's gradient against enumeration, and black-box rewards."""

import itertools
import math
import random

import pytest
import torch
from torch import Tensor

from tests.search.planted import SEES, planted, search
from tests.search.toys import cells
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.estimators import Draw, Surrogate, architecture, checked, draw, estimate
from winnow.search.methods.unas import generalisation, unbiased
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem() -> tuple[dict[str, Tensor], Tensor]:
    """Two decisions of three options and a loss of both."""
    draws = generator(5)
    logits = {name: torch.randn(3, generator=draws, dtype=torch.float64).requires_grad_() for name in "ab"}
    return logits, torch.randn(3, 3, generator=draws, dtype=torch.float64)


def value(table: Tensor, weights: dict[str, Tensor]) -> Tensor:
    return (weights["a"] @ table @ weights["b"]).mul(3).sin()


def exact(logits: dict[str, Tensor], table: Tensor) -> Tensor:
    p = softmax(logits)
    total = sum(p["a"][i] * p["b"][j] * (3 * table[i, j]).sin() for i, j in itertools.product(range(3), repeat=2))
    return torch.cat(torch.autograd.grad(total, list(logits.values())))


def _plain(logits: dict[str, Tensor], drawn: Draw) -> dict[str, Tensor]:
    """Soft samples with their own gradient: zeta of value v at temperature t has d zeta / d logits of the softmax."""
    out = {}
    for name, vector in logits.items():
        zeta = drawn.relaxed[name].detach()
        shift = (vector - vector.detach()) / 0.4
        out[name] = zeta + zeta * (shift - (zeta * shift).sum())
    return out


def test_the_estimate_is_unbiased_and_the_plain_relaxation_is_not():
    (logits, table), draws = problem(), generator(1)
    found: dict[str, list[Tensor]] = {"corrected": [], "plain": []}
    for _ in range(2000):
        drawn = draw(logits, 0.4, draws)
        hard = (3 * table[drawn.index["a"], drawn.index["b"]]).sin()
        losses = {
            "corrected": estimate(drawn, hard, value(table, drawn.relaxed)),
            "plain": value(table, _plain(logits, drawn)),
        }
        for name, loss in losses.items():
            found[name].append(torch.cat(torch.autograd.grad(loss, list(logits.values()), retain_graph=True)))
    errors = {}
    for name, rows in found.items():
        rows = torch.stack(rows)
        errors[name] = float(((rows.mean(0) - exact(logits, table)) / (rows.std(0) / len(rows) ** 0.5)).abs().max())
    assert errors["corrected"] < 4  # standard errors of six coordinates
    assert errors["plain"] > 6


def test_a_constant_added_to_the_loss_changes_nothing():
    logits, table = problem()
    grads = []
    for constant in (0.0, 100.0):
        drawn = draw(logits, 0.4, generator(3))
        soft = value(table, drawn.relaxed) + constant
        loss = estimate(drawn, (3 * table[drawn.index["a"], drawn.index["b"]]).sin() + constant, soft)
        grads.append(torch.cat(torch.autograd.grad(loss, list(logits.values()))))
    torch.testing.assert_close(*grads)


def test_the_relaxed_draw_leans_to_the_drawn_option_and_sums_to_one():
    logits, _ = problem()
    draws = generator()
    for _ in range(50):
        drawn = draw(logits, 0.4, draws)
        for name, weights in drawn.relaxed.items():
            assert int(weights.argmax()) == drawn.index[name]
            assert float(weights.detach().sum()) == pytest.approx(1)


def test_options_are_drawn_as_often_as_their_weights_say():
    logits = {"a": torch.tensor([0.5, -0.5, 1.5])}
    draws, seen = generator(), torch.zeros(3)
    for _ in range(3000):
        seen[draw(logits, 0.4, draws).index["a"]] += 1
    expected = 3000 * logits["a"].softmax(0)
    assert float(((seen - expected) ** 2 / expected).sum()) < 13.8


def test_a_surrogate_recovers_additive_costs():
    space = cells()
    draws = random.Random(0)
    costs = {name: torch.rand(5, generator=generator(i)) for i, name in enumerate(space.decisions)}
    archs = [space.decide(lambda d: draws.choice(d.values)) for _ in range(600)]
    true = lambda arch: sum(float(costs[n][space.decisions[n].options.index(o)]) for n, o in arch.items())  # noqa: E731
    fitted = Surrogate(space, archs[:500], [true(arch) for arch in archs[:500]])
    for arch in archs[500:]:
        hot = {n: torch.eye(5)[space.decisions[n].options.index(o)] for n, o in arch.items()}
        assert float(fitted(hot)) == pytest.approx(true(arch), abs=0.05)


def test_the_generalisation_loss():
    losses = {"t": torch.tensor(1.0), "v": torch.tensor(3.0)}
    objective = lambda batch, setting: losses[batch]  # noqa: E731
    assert float(generalisation(objective, "t", "v", {}, 0.5)) == 2.0
    assert float(generalisation(objective, "t", "v", {}, 0.0)) == 1.0
    assert float(generalisation(objective, "t", "t", {}, 0.5)) == 1.0


def rewarded(reward):
    return lambda bench, recipe, **own: unbiased(bench, recipe, reward, **own)


def test_a_black_box_reward_alone_moves_the_choice_to_what_it_likes():
    """With a reward for `blind` far above what the loss can pay, blind is chosen; without it, sees."""
    space, logits, _ = search(
        rewarded(lambda arch: sum(v == "blind" for v in arch.values())), epochs=30, warmup=0, weight=50.0
    )
    assert set(magnitude(space, softmax(logits)).values()) == {"blind"}


def test_a_reward_below_its_target_stops_pushing():
    """The hinge of a latency: where every architecture meets the target, the search is that without a reward."""
    plain = search(rewarded(None), epochs=4, warmup=1)[1]
    met = search(rewarded(lambda arch: -max(0.0, len(arch) - 100.0)), epochs=4, warmup=1)[1]
    assert all(torch.allclose(plain[name], met[name], atol=1e-6) for name in plain)
    assert SEES in planted().decisions["e0"].options


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_reward_that_is_no_number_is_refused(bad):
    with pytest.raises(
        Refused, match=r"the reward of architecture \w+ is (nan|inf): a reward is a finite number"
    ) as told:
        search(rewarded(lambda arch: bad), epochs=2, warmup=0)
    assert "\n" not in str(told.value)
    with pytest.raises(Refused):
        checked(lambda arch: bad, planted().decide(lambda d: d.values[0]))


def test_a_reward_is_refused_where_the_draw_leaves_inputs_open():
    """A DARTS cell keeps two inputs a node; of its 28 edges 12 would never be priced (Vahdat et al. draw them too)."""
    asked = []
    with pytest.raises(Refused, match=r"decision 'normal/3'.*search this space with strategy trials") as told:
        search(rewarded(lambda arch: asked.append(arch) or 0.0), cells("darts"), epochs=1, warmup=0)
    assert "\n" not in str(told.value)
    assert not asked


def test_every_decision_of_the_draw_is_in_the_architecture_that_is_rewarded():
    space, rewarded = cells(), []
    draws = generator(2)
    for _ in range(40):
        drawn = draw({name: torch.zeros(5) for name in space.decisions}, 0.4, draws)
        arch = architecture(space, drawn)
        assert dict(arch) == {name: space.decisions[name].options[i] for name, i in drawn.index.items()}
        rewarded.append(arch)
    assert all(len({arch[name] for arch in rewarded}) == 5 for name in space.decisions)


def test_what_an_architecture_cannot_hold_becomes_the_first_that_it_can():
    choice = Choice("a", {"none": torch.nn.Identity(), "skip": torch.nn.Identity()}, mixture_only=("none",))
    space = Space(torch.nn.Sequential(choice))
    assert dict(architecture(space, Draw({"a": 0}, {}, torch.zeros(())))) == {"a": "skip"}
