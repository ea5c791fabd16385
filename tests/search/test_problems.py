"""Search problems of FOX-NAS: which variable answers which decision."""

import random

import numpy as np
import pytest
from torch import nn

from winnow.core.choosers import uniform
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.additive import Sums
from winnow.search.bench import Bench
from winnow.search.measured import Measured
from winnow.search.problems import Grids, of_stages

WHAT = ("depth", "block1/ratio", "block1/kernel", "block2/ratio", "block2/kernel")


def test_variables_are_all_depths_then_all_ratios_and_so_on():
    units = ("one", "two")
    of = ("depth", "block2/ratio", "block2/kernel", "block1/ratio", "block1/kernel")
    names = [f"{unit}/{what}" for what in of for unit in units]
    values = {name: (f"{name} 0", f"{name} 1", f"{name} 2") for name in names}
    grids = Grids(units, {name: values[name] for name in sorted(values)})
    point = tuple(place % 3 for place in range(10))
    assert grids.answers(point) == {name: f"{name} {place % 3}" for place, name in enumerate(names)}


def test_the_variables_of_a_point_are_a_row_a_kind():
    values = {f"{unit}/depth": (2, 3) for unit in ("one", "two")}
    told = Grids(("one", "two"), values).variables((0, 1, *[0] * 8))
    assert told.shape == (1, 5, 2)
    assert told[0].tolist() == [[2, 3], *[[0, 0]] * 4]


def staged(count: int) -> Space:
    """So many units of open depth, ratios and kernels, as names alone."""
    options = {"depth": (1, 2), "ratio": (2, 4), "kernel": (3, 5)}
    names = [f"unit{i}/{what}" for i in range(1, count + 1) for what in WHAT]
    return Space(
        nn.Sequential(*(Choice(name, {o: nn.Identity() for o in options[name.rpartition("/")[2]]}) for name in names))
    )


@pytest.mark.parametrize("units", [5, 3])
def test_variables_weigh_as_published_where_there_are_five_stages_and_else_alike(units):
    space, draws = staged(units), random.Random(0)
    archs = [space.decide(uniform(draws)) for _ in range(400)]
    scores = np.array([sum(value for value in arch.values()) for arch in archs], float)
    problem = of_stages(Bench(space, 0), Sums([], [], np.zeros(0)), Measured(archs, scores))
    early, late, other = problem.weights(0, 200), problem.weights(0, 201), problem.weights(1, 1)
    assert [len(early), len(late), len(other)] == [5 * units] * 3 == [len(problem.sizes)] * 3
    if units == 5:
        assert list(early) == [100] * 5 + [1, 0, 0, 1, 1] + [0] * 5 + [0, 0, 0, 0, 1] + [0] * 5
        assert (
            list(late) == list(other) == [1] * 5 + [1, 3, 3, 3, 1] + [1, 3, 3, 3, 3] + [1, 3, 3, 3, 1] + [1, 3, 3, 3, 3]
        )
    else:
        assert set(early) == set(late) == set(other) == {1.0}
