"""search.selections.evolution: sizes of generations, what is handed on to judge by, and how long that takes."""

from collections import Counter
from dataclasses import replace

import pytest

from tests.search.benches import Counting, Told, numbers
from winnow.core.architecture import Architecture
from winnow.search.costs import Costs
from winnow.search.evolve import evolution
from winnow.search.selection import selection_of
from winnow.search.selections.evolution import by_evolution, ranking
from winnow.search.training_free import Judge
from winnow.train.checkpoint import Keeper
from winnow.train.seeds import rng

SIZES = {"population": 6, "generations": 2, "parents": 3, "mutation": 0.3}


def worth(arch: Architecture) -> float:
    """No two are equal."""
    return sum(value * 4**-i for i, value in enumerate(arch.values()))


def bench(**more) -> Told:
    return Told(numbers("abcdefg"), 3, truth=worth, **more)


def plain(**options) -> list:
    return evolution(numbers("abcdefg"), worth, rng=rng(3, "evolution"), **options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, {"population": 20, "generations": 5, "parents": 10, "mutation": 0.1}), (SIZES, SIZES)],
)
def test_it_is_evolution_of_these_sizes_by_its_own_seed(given, expected):
    found = plain(**expected)
    arch, rows = by_evolution(bench(), **given)
    assert arch == found[0].architecture
    told = [(row["event"], row["option"], row["accuracy"]) for row in rows]
    assert told == [(each.generation, each.architecture.digest, each.score) for each in found]
    assert [row["kept"] for row in rows] == [True] + [False] * (len(rows) - 1)
    assert set(Counter(row["event"] for row in rows).values()) == {expected["population"]}


def test_a_ranking_has_defaults_of_its_own():
    archs, rows = ranking(bench(), {}, parents=10, mutation=0.1)
    assert archs == [each.architecture for each in plain(population=20, generations=5)]
    assert len(rows) == 20 * 6


def test_what_is_known_is_not_judged_again_and_what_is_judged_becomes_known():
    whole, made = ranking(bench(), {}, **SIZES)[0], bench()
    known = {arch.digest: worth(arch) for arch in whole[5:]}
    assert ranking(made, known, **SIZES)[0] == whole
    assert sorted(arch.digest for arch in made.asked) == sorted(arch.digest for arch in whole[:5])
    assert known == {arch.digest: worth(arch) for arch in whole}


def test_every_network_is_shown_and_all_are_announced():
    watch = Counting()
    by_evolution(bench(shown=watch.shown), **SIZES)
    assert watch.told == [("select (evolution)", 18), *[1] * 18]


def test_untrained_networks_are_announced_and_shown_alike():
    watch = Counting()
    made = bench(shown=watch.shown, scorer=lambda: Judge(lambda arch: ({"worth": worth(arch)}, ""), {"worth": 1}))
    arch, rows = by_evolution(made, **SIZES)
    assert watch.told == [("select (evolution)", 18), *[1] * 18]
    assert arch == plain(**SIZES)[0].architecture
    assert [row["score"] for row in rows] == [each.score for each in plain(**SIZES)]
    assert not made.asked


def test_untrained_networks_keep_limits_up_to_all_of_them():
    """The first decision outweighs all others: 1 of it takes the limits whole."""
    scorer = lambda: Judge(lambda arch: ({"worth": worth(arch)}, ""), {"worth": 1})  # noqa: E731
    made = bench(scorer=scorer, load=lambda arch: float(arch["a"]))
    arch, _ = by_evolution(made, **SIZES)
    assert arch["a"] == 1


def test_limits_hold_for_trained_networks():
    made = bench(allowed=lambda arch: arch["a"] < 2)
    assert by_evolution(made, **SIZES)[0]["a"] == 1
    assert {arch["a"] for arch in made.asked} == {0, 1}


def test_what_was_judged_before_a_stop_is_not_judged_again():
    whole, asked = by_evolution(made := bench(), **SIZES), made.asked
    kept = Keeper()
    with kept.piece(known={arch.digest: worth(arch) for arch in asked[:10]}):
        state = kept.state()
    again = bench(keeper=Keeper(found=state))
    assert by_evolution(again, **SIZES) == whole
    assert again.asked == asked[10:]


@pytest.mark.parametrize(
    ("given", "seen"), [({}, 64), ({"calibration_images": 9}, 9), ({"calibration_images": None}, 64)]
)
def test_statistics_are_of_as_many_rows_as_it_says_or_as_the_bench_does(given, seen):
    counts = []

    class Noted(Told):
        def score(self, arch):
            counts.append(self.calibration_images)
            return worth(arch)

    made = bench(calibration_images=64)
    by_evolution(Noted(**vars(made)), population=2, generations=0, **given)
    assert counts == [seen, seen]


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        ({}, 20 * 6 * (10 + 30) * 0.5),
        ({"population": 4, "generations": 0}, 4 * (10 + 30) * 0.5),
        ({"population": 4, "generations": 2, "calibration_images": 5}, 4 * 3 * (10 + 5) * 0.5),
    ],
)
def test_a_plan_counts_all_generations_and_both_sorts_of_rows(options, seconds):
    costs = Costs(numbers(), 10, 30, 2, 7.0, lambda: 0.25, lambda: 0.5)
    assert selection_of(by_evolution).expected(costs, options) == seconds


def test_a_plan_counts_a_proxy_once_a_network_even_where_it_takes_no_time():
    costs = Costs(numbers(), 10, 30, 2, 7.0, lambda: 0.25, lambda: 0.5, score=2.0)
    assert selection_of(by_evolution).expected(costs, {}) == 20 * 6 * 2.0
    assert selection_of(by_evolution).expected(replace(costs, score=0.0), {}) == 0.0


def test_what_it_asks_for():
    record = selection_of(by_evolution)
    assert (record.needs, record.keeps_limits, record.evidence) == ("children", True, "children")
    assert not record.trained
