import math
import random
from dataclasses import replace

import pytest
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.proxies import score
from winnow.proxies.sizes import sizes_of
from winnow.search.bench import Bench
from winnow.search.selections.evolution import by_evolution
from winnow.search.selections.random import by_sampling
from winnow.search.training_free import Judge, evolved, limits, proxy_judge, sampled
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.train.seeds import derived, generator, seeded

SEVEN = tuple(range(7))


def toy() -> Space:
    """7^3 architectures of nothing but numbers."""
    return Space(nn.Sequential(*(Choice(name, {i: nn.Identity() for i in SEVEN}) for name in "abc")))


def total(arch: Architecture) -> int:
    return sum(v for v in arch.values() if isinstance(v, int))


def counting(values, directions) -> tuple[Judge, list[Architecture]]:
    asked: list[Architecture] = []

    def score(arch):
        asked.append(arch)
        return values(arch), ""

    return Judge(score, directions), asked


@pytest.fixture(scope="module")
def small() -> Space:
    with seeded(0):
        return nas_bench_201(channels=4, cells=1)


def batch(n: int = 4):
    return torch.randn(n, 3, 8, 8, generator=generator(0, "images")), None


def test_evolution_finds_the_best_of_a_toy_and_asks_for_each_once():
    by, asked = counting(lambda a: {"sum": float(total(a))}, {"sum": 1})
    arch, evidence = evolved(toy(), by, random.Random(0), population=20, generations=8, parents=5, mutation=0.3)
    assert total(arch) == 18
    assert len(asked) == len({a.digest for a in asked}) == len(evidence)
    assert [row.score for row in evidence] == sorted((row.score for row in evidence), reverse=True)
    assert [row.kept for row in evidence] == [True] + [False] * (len(evidence) - 1)
    assert evidence[0].option == arch.digest


def test_small_may_be_good():
    by, _ = counting(lambda a: {"sum": float(total(a))}, {"sum": -1})
    assert total(evolved(toy(), by, random.Random(0), population=20, generations=8, mutation=0.3)[0]) == 0


def test_the_best_of_a_sample_is_its_best():
    by, asked = counting(lambda a: {"sum": float(total(a))}, {"sum": 1})
    arch, evidence = sampled(toy(), by, random.Random(1), samples=30)
    assert len(asked) == len(evidence) == 30
    assert total(arch) == max(map(total, asked))
    assert {row.event for row in evidence} == {0}


def test_of_two_proxies_the_compromise_wins_by_ranks_over_everything_scored():
    """One score spans 1e60, the other a tenth: a sum would listen to the first alone."""
    by, asked = counting(
        lambda a: {"big": 10.0 ** (10 * a["a"]), "small": -0.1 * abs(a["a"] - 3) + a["b"]}, {"big": 1, "small": 1}
    )
    arch, evidence = sampled(toy(), by, random.Random(0), samples=150)
    by_hand = {}
    for name in ("big", "small"):
        column = sorted(by.seen[a.digest][0][name] for a in asked)
        for a in asked:
            value = by.seen[a.digest][0][name]
            places = [i + 1 for i, v in enumerate(column) if v == value]
            rank = sum(places) / len(places) / len(column)
            by_hand[a.digest] = by_hand.get(a.digest, 0) + math.log(rank)
    assert {row.option: pytest.approx(row.score) for row in evidence} == by_hand
    assert by_hand[arch.digest] == max(by_hand.values())


def test_what_has_no_score_is_last_and_says_why():
    by, _ = counting(lambda a: {"sum": math.nan if total(a) > 10 else float(total(a))}, {"sum": 1})
    by.score = lambda a, inner=by.score: (inner(a)[0], "not a number" if total(a) > 10 else "")
    arch, evidence = sampled(toy(), by, random.Random(0), samples=60)
    assert total(arch) <= 10
    missing = [row for row in evidence if row.reason]
    assert missing == evidence[-len(missing) :]
    assert all(math.isnan(row.values["sum"]) for row in missing)
    nothing, _ = counting(lambda a: {"sum": math.nan}, {"sum": 1})
    with pytest.raises(Refused, match="no architecture has a score"):
        sampled(toy(), nothing, random.Random(0), samples=3)


def test_limits_hold(small):
    size = sizes_of(small, (3, 8, 8))
    by, _ = counting(lambda a: {"params": size(a)["params"]}, {"params": 1})
    least = size(small.decide(lambda d: "none"))["params"]
    most = least + 1000
    arch, evidence = evolved(
        small, by, random.Random(0), population=10, generations=3, load=limits(size, params=most, macs=None)
    )
    assert all(size(row.architecture)["params"] <= most for row in evidence)
    assert size(arch)["params"] == max(size(row.architecture)["params"] for row in evidence)
    with pytest.raises(Refused, match="within the limits"):
        sampled(small, by, random.Random(0), samples=2, load=limits(size, params=least - 1))


def test_proxies_of_a_real_space_twice_the_same(small):
    found = [
        evolved(small, proxy_judge(small, ["naswot", "sed"], batch(), 0), random.Random(3), population=5, generations=1)
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert set(found[0][1][0].values) == {"naswot", "sed"}


def test_an_aggregate_stands_for_its_proxies(small):
    by = proxy_judge(small, ["az_nas", "complexity"], batch(), 0)
    assert list(by.directions) == ["expressivity", "progressivity", "trainability", "complexity"]


def test_a_refusing_proxy_is_a_reason_not_an_end():
    """Of these children one calls a ReLU."""
    with seeded(0):
        stem = nn.Conv2d(3, 4, 3)
    options = {"relu": nn.ReLU(), "none": nn.Identity(), "tanh": nn.Tanh()}
    space = Space(nn.Sequential(stem, Choice("act", options), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    _, evidence = sampled(space, proxy_judge(space, ["naswot", "params"], batch(), 0), random.Random(0), samples=3)
    assert evidence[0].architecture["act"] == "relu"
    assert evidence[0].reason == ""
    assert all("naswot: naswot reads ReLUs, and this network calls none" in row.reason for row in evidence[1:])
    assert len({row.values["params"] for row in evidence}) == 1


def test_scores_are_those_of_the_derived_child(small):
    """AZ-NAS' apart: they are of one drawing of the whole space."""
    by = proxy_judge(small, ["naswot", "synflow", "live_params", "zen"], batch(), 3)
    arch = small.decide(lambda d: d.values[-2])
    by(arch)
    values, _ = by.seen[arch.digest]
    for name, value in values.items():
        plain = score(name, small.derive(arch), batch(), generator(derived(3, "training_free"), name))
        assert value == pytest.approx(plain, rel=1e-5)


def test_a_batch_of_one_is_refused_by_what_compares_images(small):
    with pytest.raises(Refused, match="batch of 2 or more, not 1"):
        proxy_judge(small, ["naswot", "params"], batch(1), 0)


def test_what_cannot_be_searched_by_is_a_sentence(small):
    with pytest.raises(Refused, match="needs labels"):
        proxy_judge(small, ["snip"], batch(), 0)
    with pytest.raises(Refused, match="did you mean 'naswot'"):
        proxy_judge(small, ["naswto"], batch(), 0)
    with pytest.raises(Refused, match="one proxy or more"):
        proxy_judge(small, [], batch(), 0)


@pytest.mark.parametrize(
    ("method", "options", "asks"),
    [(by_evolution, {"population": 30, "generations": 6, "parents": 5}, 30 * 7), (by_sampling, {"samples": 40}, 40)],
)
def test_selections_of_untrained_networks_take_the_best_within_the_limits(method, options, asks):
    by, asked = counting(lambda a: {"sum": float(total(a))}, {"sum": 1})
    said: list[str] = []
    bench = Bench(toy(), 0, scorer=lambda: by, load=lambda arch: total(arch) / 15, say=said.append)
    arch, rows = method(bench, **options)
    assert max(map(total, asked)) == total(arch) <= 15
    assert len({row["option"] for row in rows}) == len(rows) == len(asked) <= asks
    assert [row["option"] for row in rows if row["kept"]] == [arch.digest]
    assert [row["score"] for row in rows] == sorted((float(total(a)) for a in asked), reverse=True)
    assert not said
    free, _ = method(replace(bench, load=None), **options)
    assert total(free) >= total(arch)


def test_networks_without_a_score_are_counted_aloud():
    def values(arch):
        return {"sum": math.nan if arch["a"] == 0 else float(total(arch))}, "" if arch["a"] else "a is 0"

    said: list[str] = []
    bench = Bench(toy(), 0, scorer=lambda: Judge(values, {"sum": 1}), say=said.append)
    rows = by_sampling(bench, samples=60)[1]
    missing = [row for row in rows if row["score"] == -math.inf]
    assert said == [f"  {len(missing)} of 60 have no score by some proxy and rank last: a is 0"]
    assert rows[-len(missing) :] == missing
