"""search.curvature: when the power of a few products ends, and which windows a search is judged by."""

import math

import pytest
import torch

from tests.search.toys import changed, logits_of, loss_of, points, smooth, snapshot
from winnow.search.curvature import (
    BACK,
    EVERY,
    GROWTH,
    SETTLED,
    WINDOW,
    centre,
    hessian,
    largest_eigenvalue,
    sharpening,
)


def counted(matrix: torch.Tensor, size: int, **options) -> tuple[float, int]:
    """The eigenvalue that is found, and after how many products."""
    asked = []

    def product(v: torch.Tensor) -> torch.Tensor:
        asked.append(v)
        return matrix @ v

    return largest_eigenvalue(product, size, **options), len(asked)


def diagonal(*values: float) -> torch.Tensor:
    return torch.diag(torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize("value", [2.5, 0.0, -3.0])
def test_where_every_direction_is_the_same_one_product_is_enough(value):
    found, asked = counted(diagonal(*[value] * 6), 6)
    assert found == pytest.approx(value, abs=1e-12)
    assert asked == 1


def test_without_tolerance_there_are_as_many_products_as_numbers_and_the_value_is_exact():
    turn = torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    matrix = turn @ diagonal(-4, -2.5, -1, 0.5, 1, 2, 3) @ turn.T
    found, asked = counted(matrix, 7, tolerance=0.0)
    assert found == pytest.approx(3, abs=1e-9)
    assert asked == 7


def test_the_number_of_products_is_limited_to_40_unless_it_is_said():
    matrix = diagonal(*torch.linspace(-1, 1, 300).tolist())
    assert counted(matrix, 300, tolerance=0.0)[1] == 40
    assert counted(matrix, 300, tolerance=0.0, most=3)[1] == 3
    assert counted(matrix, 300, tolerance=0.0, most=1)[1] == 1


@pytest.mark.parametrize("tolerance", [0.3, 0.05, 0.005])
def test_products_end_as_soon_as_the_residual_is_within_the_tolerance(tolerance):
    """The residual of the best vector that Krylov's subspace of so many products has, by itself."""
    matrix = diagonal(*torch.linspace(-2, 1, 60).tolist())
    _, asked = counted(matrix, 60, tolerance=tolerance)
    start = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def residual(products: int) -> float:
        powers = [start / start.norm()]
        for _ in range(products - 1):
            powers.append(matrix @ powers[-1])
            powers[-1] /= powers[-1].norm()
        basis = torch.linalg.qr(torch.stack(powers, 1))[0]
        values, vectors = torch.linalg.eigh(basis.T @ matrix @ basis)
        v = basis @ vectors[:, -1]
        return float((matrix @ v - values[-1] * v).norm() / values[-1].abs())

    assert residual(asked) <= tolerance < residual(asked - 1)
    assert (counted(matrix, 60)[1] == asked) is (tolerance == 0.05), "which is the usual one"


def test_a_product_that_is_not_finite_ends_in_no_number():
    told = iter([torch.tensor([1.0, 2.0, 3.0]).double(), torch.tensor([1.0, math.inf, 0.0]).double()])
    assert math.isnan(largest_eigenvalue(lambda v: next(told), 3, tolerance=0.0))


def test_the_hessian_over_all_logits_is_that_of_autograd_and_leaves_the_space_as_it_was():
    space, batch = smooth(), points(12)
    logits = logits_of(space)
    start = torch.cat([vector.detach() for vector in logits.values()])

    def loss(flat: torch.Tensor) -> torch.Tensor:
        return loss_of(space)(batch, {"a": flat[:3].softmax(0), "b": flat[3:].softmax(0)})

    wanted = torch.autograd.functional.hessian(loss, start)
    before = snapshot(space)
    with hessian(space, loss_of(space), batch, logits) as product:
        found = torch.stack([product(v) for v in torch.eye(6)], 1)
        assert not any(p.requires_grad for p in space.parameters())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, wanted)
    assert wanted.abs().max() > 1e-3
    assert not changed(space, before)
    assert all(p.requires_grad for p in space.parameters())


@pytest.mark.parametrize(("measured", "epoch"), [(9, 4), (11, 8), (12, 10), (20, 26)])
def test_the_earlier_window_has_its_centre_seven_measurements_back_every_other_epoch(measured, epoch):
    """Of `measured` the last five are now, the five before the last four are earlier: the third of these."""
    at = [2 * i for i in range(measured)]
    assert centre(measured) == epoch == at[measured - 9 : measured - 4][2]


def test_the_growth_is_of_the_mean_of_the_last_five_over_that_of_the_five_four_before():
    told = [100.0] * 3 + [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]
    assert sharpening(told) == (16 + 32 + 64 + 128 + 256) / (1 + 2 + 4 + 8 + 16)
    assert sharpening(told[1:]) is None, "a measurement too early"


def test_a_mean_that_was_not_above_zero_does_not_grow():
    assert sharpening([0.0] * 8 + [1.0] * 4) is None
    assert sharpening([0.001] * 8 + [-1.0] * 4) < 0
    assert sharpening([-0.001] * 12) is None


def test_numbers_of_the_rule_are_the_published_ones():
    """Zela et al. 2020, public code: every other epoch, means of five, four measurements apart, more than 1.3 times."""
    assert (EVERY, WINDOW, BACK, SETTLED, GROWTH) == (2, 5, 4, 10, 1.3)
