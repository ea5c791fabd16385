"""search.matching: the layer that weighs teachers, and the slope that it learns from, by hand."""

import math

import pytest
import torch
from torch import nn

from tests.search.toys import changed, snapshot
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.matching import Matching, virtual_slope

CPU = torch.device("cpu")


def set_to(matching: Matching, weights: list[float], bias: float) -> None:
    with torch.no_grad():
        matching.layer.weight.copy_(torch.tensor([weights]))
        matching.layer.bias.fill_(bias)


def test_a_layer_begins_by_its_seed_between_minus_one_and_one_and_leaves_other_draws_alone():
    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    one, same, other = (Matching(500, 0.1, seed, CPU).layer for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert -1 <= one.weight.min() < -0.9 < 0.9 < one.weight.max() <= 1
    assert one.weight.mean().abs() < 0.1
    assert one.bias.tolist() == [0]


def test_the_weight_of_a_teacher_is_a_sigmoid_of_the_differences():
    matching = Matching(2, 0.1, 0, CPU)
    set_to(matching, [2.0, -1.0], 0.5)
    found = matching.weight(torch.tensor([1.0, 3.0]))
    assert found.shape == ()
    assert found.item() == pytest.approx(1 / (1 + math.exp(0.5)))


def test_two_lessons_are_steps_of_nesterov_with_momentum_nine_tenths_at_the_share_of_the_rate():
    matching, x, lr = Matching(1, 0.5, 0, CPU), torch.tensor([0.3]), 0.5
    set_to(matching, [0.0], 0.0)
    w = b = 0.0
    buffers = [0.0, 0.0]
    for slope, share in ((0.8, 1.0), (-0.6, 0.5)):
        matching.learn(x, torch.tensor(slope), share)
        s = 1 / (1 + math.exp(-(0.3 * w + b)))
        grads = [slope * s * (1 - s) * 0.3, slope * s * (1 - s)]
        buffers = [0.9 * m + g for m, g in zip(buffers, grads, strict=True)]
        w, b = (at - lr * share * (g + 0.9 * m) for at, g, m in zip((w, b), grads, buffers, strict=True))
        assert matching.layer.weight.item() == pytest.approx(w, rel=1e-5)
        assert matching.layer.bias.item() == pytest.approx(b, rel=1e-5)
    assert set(matching.parts) == {"matching", "matching_optimiser"}


def test_a_lesson_whose_gradient_is_long_is_cut_to_norm_one():
    matching = Matching(2, 0.1, 0, CPU)
    set_to(matching, [0.0, 0.0], 0.0)
    matching.learn(torch.tensor([2.0, -2.0]), torch.tensor(400.0), 1.0)
    moved = torch.tensor([*matching.layer.weight.flatten().tolist(), matching.layer.bias.item()])
    torch.testing.assert_close(moved, -0.1 * 1.9 * torch.tensor([2 / 3, -2 / 3, 1 / 3]), rtol=1e-4, atol=1e-6)


class Factor(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.value * x


def test_the_slope_of_two_factors_is_what_pencil_and_paper_say():
    """y = v w x; the lesson is y at x = 1, and y squared at x = 2 is judged after a step of 0.1 times 0.5 along it."""
    space = Space(nn.Sequential(Factor(3.0), Choice("a", {"on": Factor(2.0), "off": Factor(5.0)})))
    arch, one = {"a": "on"}, torch.tensor(1.0, dtype=torch.float64)
    before = snapshot(space)
    found = virtual_slope(space, space(one, arch), 0.5, 0.1, lambda: space(2 * one, arch) ** 2)
    v, w = 3 - 0.05 * 2, 2 - 0.05 * 3
    assert found.item() == pytest.approx(-0.1 * (2 * 8 * v * w**2 + 3 * 8 * v**2 * w), rel=1e-12)
    assert not changed(space, before)
    assert all(p.grad is None for p in space.parameters())


def test_weights_that_either_loss_does_not_know_and_those_that_are_fixed_do_not_count():
    space = Space(nn.Sequential(Factor(3.0), Choice("a", {"on": Factor(2.0), "off": Factor(5.0)})))
    one = torch.tensor(1.0, dtype=torch.float64)
    found = virtual_slope(space, space(one, {"a": "on"}), 0.5, 0.1, lambda: space(one, {"a": "off"}))
    assert found.item() == pytest.approx(-0.1 * 2 * 5), "the first factor alone is in both"
    space.model[0].value.requires_grad_(False)
    found = virtual_slope(space, space(one, {"a": "on"}), 0.5, 0.1, lambda: space(one, {"a": "on"}))
    assert found.item() == pytest.approx(-0.1 * 3 * 3)


def test_weights_are_put_back_where_judging_fails():
    space = Space(nn.Sequential(Factor(3.0), Choice("a", {"on": Factor(2.0)})))
    one, before, seen = torch.tensor(1.0, dtype=torch.float64), snapshot(space), []

    def judged() -> torch.Tensor:
        seen.append(space.model[0].value.item())
        raise KeyError

    with pytest.raises(KeyError):
        virtual_slope(space, space(one, {"a": "on"}), 0.5, 0.1, judged)
    assert seen == [pytest.approx(2.9)]
    assert not changed(space, before)
