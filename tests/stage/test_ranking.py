"""Proxies against a table: rows beside size, what is missing, what is refused."""

import random

import numpy as np
import pytest

from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.spaces.darts import darts
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.spaces.nb201_classes import effective, wired
from winnow.stage.ranking import equals, noise_batch, rank_proxies, standing, truth_of
from winnow.train.seeds import seeded
from winnow.trials.lookup import Table
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import Row, as_table

NAMES = ("synflow", "naswot", "expressivity", "progressivity", "trainability")


@pytest.fixture(scope="module")
def space():
    with seeded(0):
        return nas_bench_201(channels=4, cells=1, classes=4, final=True)


def drawn(space, n: int) -> list:
    stream = random.Random(0)
    return list(dict.fromkeys(space.decide(uniform(stream)) for _ in range(n)))


def table(archs: list) -> Table:
    rows = [
        Row(i, a.to_json(), a.digest, "{}", {}, {}, {"accuracy": float(i)}, COMPLETE, None, 0, {}, 0.0, "", "")
        for i, a in enumerate(archs)
    ]
    return Table(as_table(rows))


def test_a_row_a_proxy_beside_params_macs_and_the_aggregate(space, tmp_path):
    archs = drawn(space, 25)
    truth = {arch: float(i) for i, arch in enumerate(archs)}
    batch = noise_batch(8, (3, 8, 8), 0)
    found = rank_proxies(space, truth, NAMES, batch, tmp_path, seed=0, resamples=20)
    rows = {row["proxy"]: row for row in found.rows}
    assert set(rows) == {"params", "macs", *NAMES, "az_nas"}
    taus = [row["kendall"] for row in found.rows]
    assert taus == sorted(taus, reverse=True)
    assert all(row["kendall_low"] <= row["kendall"] <= row["kendall_high"] for row in found.rows)
    assert rows["params"]["kendall"] == rows["macs"]["kendall"]
    assert found.swept.distinct == len({wired(arch) for arch in archs})
    again = rank_proxies(space, truth, NAMES, batch, tmp_path, seed=0, resamples=20)
    np.testing.assert_equal(again.rows, found.rows)


def test_a_proxy_that_is_the_truth_has_tau_one(space, tmp_path):
    archs = drawn(space, 25)
    sizes = {arch: float(sum(p.numel() for p in space.derive(arch).parameters())) for arch in archs}
    found = rank_proxies(space, sizes, (), noise_batch(8, (3, 8, 8), 0), tmp_path, seed=0, resamples=5)
    assert {row["proxy"]: row["kendall"] for row in found.rows} == {
        "params": pytest.approx(1),
        "macs": pytest.approx(1),
    }


def test_equals_have_no_dead_operation_and_one_class(space):
    archs = drawn(space, 60)
    represent = equals(archs)
    assert all(wired(represent(arch)) == wired(arch) for arch in archs)
    assert len({represent(arch) for arch in archs}) == len({wired(arch) for arch in archs})
    assert all(effective(represent(arch)) == effective(dict(represent(arch))) for arch in archs)


def test_the_truth_comes_from_the_table_or_a_sample_of_it(space):
    archs = drawn(space, 20)
    assert truth_of(space, table(archs), "accuracy", {}, None, 0) == {a: float(i) for i, a in enumerate(archs)}
    some = truth_of(space, table(archs), "accuracy", {}, 5, 0)
    assert len(some) == 5
    assert some == truth_of(space, table(archs), "accuracy", {}, 5, 0)
    assert some != truth_of(space, table(archs), "accuracy", {}, 5, 1)


def test_a_table_of_another_space_is_refused(space):
    with pytest.raises(Refused, match="not of this space"):
        truth_of(darts(channels=2, layers=3), table(drawn(space, 3)), "accuracy", {}, None, 0)


def test_an_architecture_among_random_ones(space):
    best = space.decide(lambda d: "nor_conv_3x3")
    rows = {row["proxy"]: row for row in standing(space, best, ("params", "snip"), noise_batch(4, (3, 8, 8), 0), 8, 0)}
    assert rows["params"]["beats"] == 1
    assert "needs labels" in rows["snip"]["reason"]
    assert np.isnan(rows["snip"]["score"])
