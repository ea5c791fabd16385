"""The volume that points dominate, against counting cells of a grid."""

import itertools

import numpy as np
import pytest

from winnow.measure.hypervolume import front, hypervolume


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_volume_is_that_of_the_cells_dominated(objectives):
    rng = np.random.default_rng(objectives)
    points = rng.integers(0, 6, (12, objectives)).astype(float)
    cells = itertools.product(range(6), repeat=objectives)
    counted = sum(any((point > cell).all() for point in points) for cell in map(np.array, cells))
    assert hypervolume(points) == counted
    assert hypervolume(front(points)) == counted
    assert hypervolume(points[:0]) == 0


def test_a_front_has_what_nothing_is_better_than_each_once():
    points = np.array([[1, 1], [0, 3], [1, 1], [3, 0], [0, 2], [2, 0.5], [3, 0]], float)
    assert sorted(front(points).tolist()) == [[0, 3], [1, 1], [2, 0.5], [3, 0]]
