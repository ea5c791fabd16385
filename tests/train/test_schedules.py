"""train.schedules: the rate of each step by its formula."""

import math

import pytest
import torch

from winnow.train.schedules import falling

FORMULAS = {  # of the share t of the fall, and how many steps it is old
    "cosine": lambda t, step: 0.04 + 0.36 * (1 + math.cos(math.pi * t)) / 2,
    "linear": lambda t, step: 0.4 - 0.36 * t,
    "steps": lambda t, step: max(0.04, 0.4 * 0.5 ** (step // 3)),
}


def rates(kind: str, total: int, warmup: int = 0, lr_min: float = 0.04) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.4)
    schedule = falling(optimiser, kind, total, lr_min, warmup=warmup, decay=0.5, every=3)
    seen = []
    for _ in range(total):
        seen.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return seen


@pytest.mark.parametrize("warmup", [0, 1, 4])
@pytest.mark.parametrize("kind", FORMULAS)
def test_a_rate_rises_in_a_line_and_falls_by_its_formula(kind, warmup):
    rise = [0.4 * (step + 1) / (warmup + 1) for step in range(warmup)]
    left = 16 - warmup
    fall = [FORMULAS[kind](step / left, step) for step in range(left)]
    assert rates(kind, 16, warmup) == pytest.approx(rise + fall)


def test_a_line_to_nothing_ends_there():
    assert rates("linear", 4, lr_min=0.0) == pytest.approx([0.4, 0.3, 0.2, 0.1])


def test_a_run_that_is_all_rise():
    assert rates("linear", 2, warmup=3) == pytest.approx([0.1, 0.2])
