"""SPOS with balanced paths: MACs in bins, and what is no range. Its training is in test_methods.py."""

import random

import pytest

from tests.search.planted import bench_of
from tests.search.toys import Loader, cells, images
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.search.methods.spos import spos
from winnow.search.recipe import Recipe


def macs_of(space, count=200):
    bench, draws = bench_of(space, Loader([images(4)]), ()), random.Random(0)
    return sorted(bench.sizes(space.decide(uniform(draws)))["macs"] for _ in range(count))


def trained(space, **options):
    """MACs of the paths of an epoch."""
    seen: list[float] = []
    bench = bench_of(space, Loader([images(4, seed) for seed in range(12)]), ())

    def objective(batch, path):
        seen.append(bench.sizes(path)["macs"])
        return bench.objective(batch, path)

    spos(bench_of(space, bench.train, (), objective=objective), Recipe(epochs=1, lr=0.01), **options)
    return seen


def test_paths_lie_in_the_range_and_none_in_a_bin_without_networks():
    space = cells("ofa")
    every = macs_of(space)
    low, high = every[40], every[160]
    assert all(low <= each <= high for each in trained(space, balanced=(low, high), bins=2))
    assert not all(low <= each <= high for each in trained(space))


@pytest.mark.parametrize("ends", [(9e6, 1e6), (5e6, 5e6)])
def test_what_is_no_range_is_refused(ends):
    with pytest.raises(Refused, match="the lower one first"):
        trained(cells("ofa"), balanced=ends)
