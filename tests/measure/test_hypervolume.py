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


def test_volumes_on_paper():
    assert hypervolume(np.array([[2.0], [5.0], [3.0]])) == 5.0
    assert hypervolume(np.array([[3.0, 1.0], [1.0, 2.5]])) == 3 * 1 + 1 * 1.5
    assert hypervolume(np.array([[2.0, 2.0, 0.5], [1.0, 4.0, 0.5]])) == (4 + 2) * 0.5
    assert hypervolume(np.array([[1.0, 1.0, 3.0], [2.0, 2.0, 1.0]])) == 4 + 1 * 2
    assert hypervolume(np.array([[0.0, 7.0], [7.0, 0.0]])) == 0.0
    assert hypervolume(np.array([[2.0, 3.0, 5.0, 7.0]])) == 210.0


@pytest.mark.parametrize("objectives", [1, 3])
def test_of_no_points_there_is_no_front_and_no_volume(objectives):
    nothing = np.empty((0, objectives))
    assert front(nothing).shape == (0, objectives)
    assert hypervolume(nothing) == 0.0


def test_a_point_that_is_beaten_in_all_but_one_objective_stays():
    points = np.array([[5.0, 5.0, 0.0], [0.0, 0.0, 1.0], [5.0, 4.0, 0.0], [5.0, 5.0, -1.0]])
    assert sorted(front(points).tolist()) == [[0.0, 0.0, 1.0], [5.0, 5.0, 0.0]]
