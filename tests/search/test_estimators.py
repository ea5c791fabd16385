"""search.estimators: UNAS's gradient against enumeration, and black-box rewards."""

import math
import random

import pytest
import torch
from torch import Tensor

from tests.search.planted import bench_of, data, planted, search
from tests.search.toys import Loader, cells
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.estimators import Draw, Surrogate, architecture, checked, draw, estimate, pair
from winnow.search.methods import unas as unas_module
from winnow.search.methods.unas import doubled, generalisation, unbiased
from winnow.search.recipe import Recipe
from winnow.search.relax import softmax
from winnow.search.selections.magnitude import magnitude
from winnow.spaces.factorised import twins


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem() -> tuple[dict[str, Tensor], Tensor]:
    """Three decisions of four options and a loss of all three."""
    draws = generator(5)
    logits = {name: torch.randn(4, generator=draws, dtype=torch.float64).requires_grad_() for name in "abc"}
    return logits, torch.randn(4, 4, 4, generator=draws, dtype=torch.float64)


def value(table: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """() or (examples,): no sum over decisions, and not linear in any."""
    return torch.einsum("ijk,i...,j...,k...->...", table, *weights.values()).mul(2).sin()


def exact(logits: dict[str, Tensor], table: Tensor) -> Tensor:
    total = torch.einsum("ijk,i,j,k->", table.mul(2).sin(), *softmax(logits).values())
    return torch.cat(torch.autograd.grad(total, list(logits.values())))


def _plain(logits: dict[str, Tensor], drawn: Draw) -> dict[str, Tensor]:
    """Soft samples with their own gradient: zeta of value v at temperature t has d zeta / d logits of the softmax."""
    out = {}
    for name, vector in logits.items():
        zeta = drawn.relaxed[name].detach()
        shift = ((vector - vector.detach()) / 0.4)[:, None]
        out[name] = zeta + zeta * (shift - (zeta * shift).sum(0))
    return out


def test_the_estimate_is_unbiased_and_the_plain_relaxation_is_not():
    """Against the 64 architectures, by 400,000 draws: 4 standard errors, and the plain one is off by 20 %."""
    (logits, table), draws = problem(), generator(1)
    found: dict[str, list[Tensor]] = {"corrected": [], "plain": []}
    for _ in range(40):
        drawn = draw(logits, 0.4, draws, 10_000)
        losses = {
            "corrected": estimate(drawn, value(table, drawn.hot), value(table, drawn.relaxed)),
            "plain": value(table, _plain(logits, drawn)).mean(),
        }
        for name, loss in losses.items():
            found[name].append(torch.cat(torch.autograd.grad(loss, list(logits.values()), retain_graph=True)))
    errors, bias = {}, {}
    for name, rows in found.items():
        off = torch.stack(rows).mean(0) - exact(logits, table)
        errors[name] = float((off / (torch.stack(rows).std(0) / len(rows) ** 0.5)).abs().max())
        bias[name] = float(off.norm() / exact(logits, table).norm())
    assert errors["corrected"] < 4
    assert bias["corrected"] < 0.02
    assert errors["plain"] > 20
    assert bias["plain"] > 0.1


def test_both_samples_of_a_pair_are_equal_and_their_gradients_are_not():
    theta = torch.randn(4, 1, generator=generator(2), dtype=torch.float64).log_softmax(0).requires_grad_()
    u = torch.rand(4, 500, generator=generator(3), dtype=torch.float64).clamp(1e-3, 1 - 1e-3)
    k, soft, conditional = pair(theta, u, 0.4)
    torch.testing.assert_close(soft, conditional, rtol=0, atol=1e-12)
    torch.testing.assert_close(soft.sum(0), torch.ones(500, dtype=torch.float64))
    assert torch.equal(soft.argmax(0), k)
    assert torch.equal(conditional.argmax(0), k)
    one, other = (torch.autograd.grad(sample[0].sum(), theta, retain_graph=True)[0] for sample in (soft, conditional))
    assert float((one - other).abs().min()) > 1


def test_a_cold_sample_is_the_draw_and_leaves_no_factor():
    logits, table = problem()
    drawn = draw(logits, 1e-3, generator(4), 200)
    off = (value(table, drawn.hot) - value(table, drawn.relaxed)).detach().abs()
    assert float(off.median()) < 1e-9
    warm = draw(logits, 0.4, generator(4), 200)
    assert float((value(table, warm.hot) - value(table, warm.relaxed)).detach().abs().median()) > 0.01


def test_losses_of_examples_multiply_their_own_probability():
    """And nothing else of the discrete branch has a gradient."""
    logits, table = problem()
    drawn = draw(logits, 0.4, generator(6), 5)
    hard = value(table, drawn.hot).detach().requires_grad_()
    loss = estimate(drawn, hard, torch.zeros(5, dtype=torch.float64))
    assert torch.autograd.grad(loss, hard, retain_graph=True, allow_unused=True) == (None,)
    for name, found in zip(logits, torch.autograd.grad(loss, list(logits.values())), strict=True):
        p = logits[name].detach().softmax(0)[:, None]
        torch.testing.assert_close(found, (hard.detach() * (drawn.hot[name] - p)).mean(1))


def test_softening_leaves_no_option_rare():
    logits = {"a": torch.tensor([9.0, 0.0, 0.0, 0.0], dtype=torch.float64)}
    drawn = draw(logits, 0.4, generator(7), 20_000, softening=0.08)
    p = (logits["a"].softmax(0) + 0.08) / 1.32
    torch.testing.assert_close(drawn.hot["a"].mean(1), p, rtol=0, atol=0.01)
    torch.testing.assert_close(drawn.log_probability, p.log()[drawn.index["a"]])


def test_a_constant_added_to_the_loss_changes_nothing():
    logits, table = problem()
    grads = []
    for constant in (0.0, 100.0):
        drawn = draw(logits, 0.4, generator(3))
        soft = value(table, drawn.relaxed) + constant
        loss = estimate(drawn, value(table, drawn.hot) + constant, soft)
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
    seen = draw(logits, 0.4, generator(), 3000).hot["a"].sum(1)
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
        assert fitted.of(arch) == pytest.approx(float(fitted(hot)), abs=1e-5)


class Told:
    """Rows whose losses are their answers."""

    def each(self, batch, setting):
        return batch[1]


def test_the_generalisation_loss_pairs_rows():
    """The gap of each pair: of the means of these batches it would be none."""
    batch = lambda *losses: (torch.zeros(len(losses)), torch.tensor(losses))  # noqa: E731
    train, valid = batch(1.0, 3.0), batch(3.0, 1.0)
    assert generalisation(Told(), train, valid, {}, 0.5).tolist() == [2.0, 4.0]
    assert generalisation(Told(), train, valid, {}, 0.0).tolist() == [1.0, 3.0]
    assert generalisation(Told(), train, train, {}, 0.5).tolist() == [1.0, 3.0]
    assert generalisation(Told(), batch(1.0, 1.0, 1.0), valid, {}, 1.0).tolist() == [3.0, 1.0, 3.0]


def test_the_price_of_one_pair_taken_twice():
    hot = lambda i, n: torch.eye(n)[i]  # noqa: E731
    weights = {"n/a/input": hot(1, 2), "n/a/op": hot(3, 5), "n/b/input": hot(1, 2), "n/b/op": hot(3, 5)}
    assert float(doubled([("n/a", "n/b")], weights)) == 1
    assert float(doubled([("n/a", "n/b")], {**weights, "n/b/op": hot(2, 5)})) == 0
    assert float(doubled([("n/a", "n/b")], {**weights, "n/b/input": torch.tensor([0.75, 0.25])})) == 0.25
    assert doubled([], weights) == 0


def test_the_price_spreads_the_pairs_of_a_node():
    """With the price alone, of a loss that is the same whatever is chosen, no node ends with one pair twice."""
    ops = {op: torch.nn.Linear(4, 4) for op in "xyz"}
    pairs = [Choice(f"n/{p}/input", {i: Choice(f"n/{p}/op", ops) for i in (0, 1)}) for p in "ab"]
    space = Space(torch.nn.Sequential(*pairs))
    free = lambda objective, train, valid, setting, gap: torch.zeros(len(train[1]))  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unas_module, "generalisation", free)
        train, valid = Loader([(torch.randn(16, 4), torch.arange(16) % 4)] * 40), Loader([(None, None)])
        recipe = Recipe(epochs=1, logits_lr=0.3, logits_weight_decay=0.0)
        logits = unbiased(bench_of(space, train, valid), recipe, None, warmup=0, twice=5.0).logits
    weights = {name: vector.detach().softmax(0) for name, vector in logits.items()}
    even = {name: torch.full_like(vector, 1 / len(vector)) for name, vector in weights.items()}
    assert float(doubled(twins(space), weights)) < 0.2 * float(doubled(twins(space), even))


def rewarded(reward, **more):
    return lambda bench, recipe, **own: unbiased(bench, recipe, reward, **more, **own)


def test_a_black_box_reward_alone_moves_the_choice_to_what_it_likes():
    """With a reward for `blind` far above what the loss can pay, blind is chosen; without it, sees."""
    space, logits, _ = search(
        rewarded(lambda arch: sum(v == "blind" for v in arch.values())), epochs=30, warmup=0, weight=50.0
    )
    assert set(magnitude(space, softmax(logits)).values()) == {"blind"}


def test_a_reward_beyond_what_is_enough_stops_pushing():
    """The hinge of a latency: where every architecture meets the target, the search is that without a reward."""
    plain = search(rewarded(None), epochs=4, warmup=1)[1]
    met = search(rewarded(lambda arch: sum(v == "blind" for v in arch.values()), enough=-100.0), epochs=4, warmup=1)[1]
    unmet = search(rewarded(lambda arch: sum(v == "blind" for v in arch.values())), epochs=4, warmup=1)[1]
    for name, vector in plain.items():
        assert torch.equal(vector.argsort(), met[name].argsort())
        assert not torch.equal(met[name], unmet[name])


def test_how_well_the_control_variate_fits_is_reported():
    found = rewarded(lambda arch: sum(v == "blind" for v in arch.values()))(
        bench_of(planted(), data(seed=1), data(seed=2)), Recipe(epochs=1, lr=0.1), warmup=0
    )
    assert 0 < found.metrics["surrogate_error"] < 0.05


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
        assert dict(arch) == {name: space.decisions[name].options[int(i)] for name, i in drawn.index.items()}
        rewarded.append(arch)
    assert all(len({arch[name] for arch in rewarded}) == 5 for name in space.decisions)


def test_what_an_architecture_cannot_hold_becomes_the_first_that_it_can():
    choice = Choice("a", {"none": torch.nn.Identity(), "skip": torch.nn.Identity()}, mixture_only=("none",))
    space = Space(torch.nn.Sequential(choice))
    assert dict(architecture(space, Draw({"a": torch.tensor(0)}, {}, torch.zeros(())))) == {"a": "skip"}


def test_a_surrogate_is_a_ridge_regression_with_a_bias_that_is_ridged_too():
    space = Space(torch.nn.Sequential(*(Choice(n, {k: torch.nn.Identity() for k in "xyz"}) for n in "ab")))
    archs = [space.decide(lambda d, one=one, two=two: {"a": one, "b": two}[d.name]) for one in "xyz" for two in "xy"]
    values = [1.0, -2.0, 0.5, 3.0, 2.5, -1.0]
    rows = torch.tensor([[*(a["a"] == k for k in "xyz"), *(a["b"] == k for k in "xyz"), 1] for a in archs]).double()
    for given, ridge in (({}, 1.0), ({"ridge": 0.25}, 0.25)):
        square = rows.T @ rows + ridge * torch.eye(7).double()
        wanted = rows @ torch.linalg.solve(square, rows.T @ torch.tensor(values).double())
        fitted = Surrogate(space, archs, values, **given)
        assert [fitted.of(arch) for arch in archs] == pytest.approx(wanted.tolist(), abs=1e-5)
        assert float(fitted.bias) != 0
    half = {"a": torch.tensor([0.5, 0.5, 0.0]), "b": torch.tensor([0.0, 1.0, 0.0])}
    both = [fitted.of(arch) for arch in archs if arch["b"] == "y" and arch["a"] in "xy"]
    assert float(fitted(half)) == pytest.approx(sum(both) / 2, abs=1e-5)
