"""search.smooth: noise on mixture weights as SmoothDARTS defines it."""

import pytest
import torch

from tests.search.toys import cells, changed, images, logits_of, loss_of, mixed, snapshot
from winnow.search.relax import softmax
from winnow.search.smooth import GRADIENTS, adversarial_noise, random_noise, simplex

BATCH = images(8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_simplex_rows_are_distributions():
    for row in torch.randn(200, 5, generator=generator()):
        out = simplex(row)
        assert (out >= 0).all()
        assert float(out.sum()) == pytest.approx(1, abs=1e-6)
    inside = torch.tensor([0.2, 0.5, 0.3])
    torch.testing.assert_close(simplex(inside), inside)
    assert simplex(torch.tensor([-3.0, -1.0, -2.0])).tolist() == [0, 1, 0]


def test_random_noise_is_uniform_within_its_radius():
    even = {"a": torch.full((8,), 0.125, dtype=torch.float64)}
    draws = generator()
    noise = torch.stack([random_noise(0.1, draws)(even, BATCH, {})["a"] for _ in range(500)])
    assert float(noise.max()) <= 0.225 / (8 * 0.025)
    assert float(noise.std()) == pytest.approx(0.1 / 3**0.5, rel=0.1)


def test_the_mean_rise_of_a_quadratic_is_a_sixth_of_the_squared_radius_times_the_trace():
    a = torch.randn(5, 5, generator=generator(1), dtype=torch.float64)
    hessian, epsilon = a @ a.T, 0.3
    delta = epsilon * (2 * torch.rand(400_000, 5, generator=generator(2), dtype=torch.float64) - 1)
    rise = 0.5 * ((delta @ hessian) * delta).sum(1).mean()
    assert float(rise) == pytest.approx(epsilon**2 / 6 * float(hessian.trace()), rel=0.01)


def test_the_attack_hurts_at_least_as_much_as_nothing_and_leaves_no_trace():
    space = cells()
    logits = logits_of(space)
    weights, loss = mixed(space, logits), loss_of(space)
    before = snapshot(space)
    space.train()
    for seed in range(5):
        moved = adversarial_noise(space, loss, 0.3, generator(seed))(weights, BATCH, {})
        assert space.training
        assert not changed(space, before)
        assert all(p.grad is None and p.requires_grad for p in space.parameters())
        space.eval()
        assert float(loss(BATCH, moved).detach()) >= float(loss(BATCH, weights).detach())
        space.train()


def test_the_attack_hurts_more_than_noise_of_its_radius():
    space = cells()
    weights, loss = mixed(space, logits_of(space)), loss_of(space)
    space.eval()
    of_noise = [float(loss(BATCH, random_noise(0.2, generator(s))(weights, BATCH, {})).detach()) for s in range(5)]
    attacked = adversarial_noise(space, loss, 0.2, generator(9))(weights, BATCH, {})
    assert float(loss(BATCH, attacked).detach()) > max(of_noise)


def test_decided_options_are_not_attacked():
    space = cells()
    weights = mixed(space, logits_of(space))
    decided = {"1<-0": "skip_connect"}
    weights.pop("1<-0")
    moved = adversarial_noise(space, loss_of(space), 0.3, generator())(weights, BATCH, decided)
    assert set(moved) == set(weights)


def test_the_logits_step_before_an_attack_moves_running_statistics_and_no_other_does():
    """Chen & Hsieh 2020, public code: the attack runs in evaluation mode on statistics that both steps have moved."""
    for kind, moves in (("adversarial", True), ("random", False)):
        space = cells().train()
        logits, before = logits_of(space), snapshot(space)
        GRADIENTS[kind](space, logits, softmax, loss_of(space), BATCH, BATCH, None)
        names = changed(space, before)
        assert bool(names) is moves
        assert all("running" in name or "num_batches" in name for name in names)


def attacked(objective, weights, *, epsilon=0.1, steps=8, seed=0, decided=None):
    """What the attack returns, and the settings that it asked `objective` about: the clean one, then one a step."""
    seen = []

    def asked(batch, setting):
        seen.append({name: row.detach().clone() for name, row in setting.items() if isinstance(row, torch.Tensor)})
        return objective(setting)

    return adversarial_noise(cells(), asked, epsilon, generator(seed), steps)(weights, BATCH, decided or {}), seen


UP = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)  # sums to zero: what goes along it stays on the simplex
EVEN = {"a": torch.full((4,), 0.25, dtype=torch.float64)}


def test_each_step_of_the_attack_is_two_radii_over_the_steps_along_the_sign():
    """Chen & Hsieh 2020, algorithm 1 with PGD: a step of 2 epsilon / 7 for 7 steps crosses the ball once."""
    for seed in range(5):
        _, (clean, start, second, *_) = attacked(lambda setting: 5 * (UP * setting["a"]).sum(), EVEN, seed=seed)
        assert torch.equal(clean["a"], EVEN["a"])
        far = start["a"] - 0.25 + 0.025 * UP
        inside = far.abs() < 0.1
        expected = 0.25 + far.clamp(-0.1, 0.1)
        torch.testing.assert_close(second["a"], expected / expected.sum(), rtol=0, atol=1e-12)
        assert inside.any()


def test_the_attack_ends_on_the_side_of_the_ball_that_hurts_most():
    moved, seen = attacked(lambda setting: (UP * setting["a"]).sum(), EVEN, steps=20)
    torch.testing.assert_close(moved["a"], 0.25 + 0.1 * UP, rtol=0, atol=1e-12)
    assert len(seen) == 1 + 20 + 1
    assert all(float((row["a"] - 0.25).abs().max()) <= 0.1 + 0.02 for row in seen)  # normalised after it was clamped


def test_an_attack_that_only_helps_is_thrown_away():
    """A loss that is highest where nothing is disturbed: what comes back are the weights as they were."""
    moved, _ = attacked(lambda setting: -((setting["a"] - 0.25) ** 2).sum(), EVEN, steps=3)
    assert torch.equal(moved["a"], EVEN["a"])


def test_what_the_loss_does_not_see_stays_where_it_began():
    both = {**EVEN, "b": EVEN["a"]}
    moved, (_, start, *_) = attacked(lambda setting: (UP * setting["a"]).sum(), both)
    torch.testing.assert_close(moved["b"], start["b"], rtol=0, atol=1e-12)
    assert not torch.equal(moved["b"], EVEN["a"])


def test_an_attack_on_an_untrained_mode_leaves_it():
    space = cells().eval()
    adversarial_noise(space, loss_of(space), 0.3, generator())(mixed(space, logits_of(space)), BATCH, {})
    assert not space.training


def test_a_row_is_clamped_to_one_and_to_zero_before_it_is_divided():
    assert simplex(torch.tensor([2.0, 1.0, 0.0, -1.0])).tolist() == [0.5, 0.5, 0, 0]
    assert simplex(torch.tensor([0.25, 0.0])).tolist() == [1, 0]


def test_noise_reaches_both_ends_of_its_radius_and_no_further():
    """On a weight that stays the largest of two: what is added, from how the two share one."""
    row, draws = {"a": torch.tensor([0.5, 0.5], dtype=torch.float64)}, generator()
    shares = torch.stack([random_noise(0.2, draws)(row, BATCH, {})["a"] for _ in range(4000)])
    assert 0.7 / (0.7 + 0.3) - 0.02 < float(shares.max()) < 0.7
    assert float(shares.mean()) == pytest.approx(0.5, abs=1e-9)
    assert float(shares[:, 0].mean()) == pytest.approx(0.5, abs=0.01)


def test_an_attack_takes_seven_steps_unless_it_is_said_and_one_that_changes_nothing_is_kept():
    asked = []

    def objective(batch, setting):
        asked.append(setting)
        return (0 * setting["a"]).sum()

    moved = adversarial_noise(cells(), objective, 0.1, generator())(EVEN, BATCH, {})
    assert len(asked) == 1 + 7 + 1
    assert not torch.equal(moved["a"], EVEN["a"])
