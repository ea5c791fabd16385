"""Selections that fit a model to judged networks: exact and annealing, by truths that are known."""

import random
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from tests import fox_nas
from tests.search.toys import cells
from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.predictors.stagewise import stages_of
from winnow.proxies.sizes import sizes_of
from winnow.search.additive import added, encoded, parts_of
from winnow.search.bench import Bench
from winnow.search.selections.annealing import by_annealing
from winnow.search.selections.exact import by_optimum
from winnow.spaces import build
from winnow.train.checkpoint import Keeper
from winnow.train.packing import from_bytes, to_bytes

SHORT = {by_optimum: {"population": 10, "generations": 2}, by_annealing: {}}


@dataclass(frozen=True)
class Told(Bench):
    """A bench that is told the truth instead of judging children."""

    truth: object = None

    def score(self, arch: Architecture) -> float:
        return self.truth(arch)


def bench(space: Space, truth, share: float, shape: tuple, **more) -> tuple[Bench, list[str]]:
    """With a limit on MACs: `share` of the mean of random networks."""
    known, rng, said = sizes_of(space, shape), random.Random(5), []
    mean = np.mean([known(space.decide(uniform(rng)))["macs"] for _ in range(30)])
    most = {"macs": share * mean}
    allowed = lambda arch: known(arch)["macs"] <= most["macs"]  # noqa: E731
    made = Told(space, 3, truth=truth, sizes=known, most=most, allowed=allowed, say=said.append, **more)
    return made, said


@dataclass(frozen=True)
class Known:
    """NAS-Bench-201, a truth that is a sum over its edges, and both numbers of every architecture, by digest."""

    space: Space
    truth: object
    scores: dict[str, float]
    macs: dict[str, float]

    def best(self, limit: float) -> float:
        return max(score for digest, score in self.scores.items() if self.macs[digest] <= limit)


@pytest.fixture(scope="module")
def small() -> Known:
    space = cells("nas_bench_201")
    parts, known = parts_of(space), sizes_of(space, (1, 8, 8))
    first, each = added(space, parts, lambda arch: [known(arch)["macs"]], [])
    every = list(space.every())
    x = encoded(parts, every)
    digests = [arch.digest for arch in every]
    scores = dict(zip(digests, 50 + x @ np.random.default_rng(0).normal(size=30), strict=True))
    macs = dict(zip(digests, first + x @ np.concatenate(each)[:, 0], strict=True))
    return Known(space, lambda arch: float(scores[arch.digest]), scores, macs)


@pytest.mark.parametrize("method", [by_optimum, by_annealing])
def test_a_sum_of_options_is_maximised_within_the_limits(small, method):
    made, said = bench(small.space, small.truth, 0.6, (1, 8, 8))
    found, rows = method(made, samples=120, **SHORT[method])
    assert made.allowed(found)
    assert small.truth(found) == pytest.approx(small.best(made.most["macs"]), abs=1e-6)
    judged = [row for row in rows if not row["decision"]]
    assert [row["option"] for row in judged if row["event"] == 1 and row["kept"]] == [found.digest]
    assert len([row for row in judged if row["event"] == 0]) == 120
    assert len(said) == 1
    if method is by_optimum:
        assert "tau 0.9" in said[0] or "tau 1.0" in said[0]
        assert "exact to 0" in said[0]
        assert "evolution under the same sum stays" in said[0]
    else:
        assert "annealing ends 0 below the exact optimum of that model" in said[0]


@pytest.fixture(scope="module")
def stagewise() -> tuple[Space, object]:
    """A network of five stages whose accuracy is FOX-NAS's model of it."""
    with torch.device("meta"):
        space = build(
            "ofa",
            {"ratios": (2, 4), "kernels": (3, 5), "depths": (2, 3), "width": 0.25},
            classes=10,
            image_channels=3,
            image_size=32,
        )
    return space, lambda arch: float(fox_nas.ACCURACY(stages_of([arch]))[0])


def test_annealing_of_stages_finds_what_pays_and_beats_what_was_drawn(stagewise):
    space, truth = stagewise
    made, said = bench(space, truth, 0.95, (3, 32, 32))
    found, rows = by_annealing(made, samples=60, runs=1)
    assert made.allowed(found)
    rng = random.Random(1)
    others = [arch for arch in (space.decide(uniform(rng)) for _ in range(150)) if made.allowed(arch)]
    assert len(others) > 20
    assert truth(found) > max(map(truth, others))
    told = [row for row in rows if row["decision"]]
    assert len(told) == 40
    sizes = [abs(row["score"]) for row in told]
    assert sizes == sorted(sizes, reverse=True)
    assert "the stages explain accuracy with R2 1.000" in said[0]
    last = {name.rpartition("/")[2]: value for name, value in found.items() if name.startswith("unit3/block3")}
    middle = {name.rpartition("/")[2]: value for name, value in found.items() if name.startswith("unit3/block2")}
    assert not last or last == middle, "blocks of a stage but the first are alike"


def test_both_models_are_explained_where_a_device_is_limited_and_the_optimum_is_told_beside(stagewise):
    space, truth = stagewise
    made, said = bench(space, truth, 0.95, (3, 32, 32))
    sizes = made.sizes
    told = lambda arch: {**sizes(arch), "latency_ms": 1 + sizes(arch)["macs"] / 1e6}  # noqa: E731
    ms = {"latency_ms": 1 + made.most["macs"] / 1e6}
    _, rows = by_annealing(replace(made, sizes=told, most=ms), samples=60, runs=1)
    times = [row for row in rows if row["event"] == 2]
    assert len(times) == 35
    assert abs(times[0]["score"]) >= abs(times[1]["score"]) > 0
    assert "and latency_ms with R2 0.9" in said[0]
    by_annealing(replace(made, sizes=told, most={**made.most, **ms}), samples=60, runs=1)
    one, both = (text.rpartition("; annealing ends ")[2] for text in said)
    assert one == both, "the same limit twice: by fronts under one, by integers under two"
    assert 0 <= float(one.split()[0]) < 0.5


def test_as_many_coefficients_as_networks_are_refused(stagewise):
    space, truth = stagewise
    made, _ = bench(space, truth, 0.8, (3, 32, 32))
    with pytest.raises(Refused, match=r"select\.annealing: 41 coefficients take more networks than that, and 41"):
        by_annealing(made, samples=41, runs=1)


def test_stages_that_are_not_there_are_refused(small):
    made, _ = bench(small.space, small.truth, 0.6, (1, 8, 8))
    with pytest.raises(Refused, match="stages are those of space ofa"):
        by_annealing(made, samples=50, model="stages")


@pytest.mark.parametrize("method", [by_optimum, by_annealing])
def test_a_selection_that_was_stopped_judges_none_twice_and_ends_alike(small, method, monkeypatch):
    monkeypatch.setattr("winnow.train.checkpoint.MOST", float("inf"))
    kept, asked = [], []
    space = small.space

    def counted(arch: Architecture) -> float:
        asked.append(arch.digest)
        return small.truth(arch)

    whole = method(
        bench(space, counted, 0.6, (1, 8, 8), keeper=Keeper(lambda s: kept.append(to_bytes(s))))[0],
        samples=40,
        **SHORT[method],
    )
    every, half = len(asked), from_bytes(kept[20])
    asked.clear()
    again = method(bench(space, counted, 0.6, (1, 8, 8), keeper=Keeper(found=half))[0], samples=40, **SHORT[method])
    assert (again, len(asked)) == (whole, every - 20)


def test_a_limit_that_no_network_keeps_is_refused_with_the_least(small):
    made, _ = bench(small.space, small.truth, 1e-6, (1, 8, 8))
    for method in (by_optimum, by_annealing):
        with pytest.raises(Refused, match="nothing is within the limits"):
            method(made, samples=40)
