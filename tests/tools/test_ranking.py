"""Proxies against a table: rows beside size, what is missing, what is refused."""

import random

import numpy as np
import pytest
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.spaces.darts import darts
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.spaces.nb201_classes import effective, wired
from winnow.tools.ranking import equals, noise_batch, rank_proxies, truth_of
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
    assert set(rows) == {"params", "macs", *NAMES, "az_nas", "az_nas_vit"}
    taus = [row["kendall"] for row in found.rows]
    assert taus == sorted(taus, reverse=True)
    for measure in ("kendall", "spearman", "top_precision", "ndcg_top"):
        assert all(row[f"{measure}_low"] <= row[measure] <= row[f"{measure}_high"] for row in found.rows)
    kinds = {name: row["kind"] for name, row in rows.items()}
    assert (kinds["macs"], kinds["synflow"], kinds["az_nas"]) == ("size", "proxy", "aggregate")
    assert not found.gaps
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


class Odd(nn.Module):
    def __init__(self, value: float):
        super().__init__()
        self.value = value

    def forward(self, x):
        return x * self.value


def odd(**values: float) -> tuple[Space, dict[Architecture, float]]:
    choice = Choice("last", {name: Odd(value) for name, value in values.items()})
    space = Space(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), choice))
    return space, {arch: float(place) for place, arch in enumerate(space.every())}


def test_what_has_no_value_is_named_counted_and_last(tmp_path):
    space, truth = odd(broken=float("nan"), small=0.5, large=2.0)
    found = rank_proxies(space, truth, ("synflow",), noise_batch(4, (3, 8, 8), 0), tmp_path, seed=0, resamples=5)
    row = next(row for row in found.rows if row["proxy"] == "synflow")
    assert (row["missing"], row["kendall"]) == (1, pytest.approx(1))
    (gap,) = found.gaps
    assert (gap.proxy, gap.count, gap.architecture, gap.reason) == ("synflow", 1, '{"last":"broken"}', "not a number")


def test_one_score_for_all_is_no_order(tmp_path):
    space, truth = odd(a=0.0, b=0.0, c=0.0)
    found = rank_proxies(space, truth, ("synflow",), noise_batch(4, (3, 8, 8), 0), tmp_path, seed=0, resamples=5)
    assert found.level == ["params", "macs", "synflow"]
    assert all(np.isnan(row["kendall"]) for row in found.rows)
