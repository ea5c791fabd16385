"""search.selections.random: how many untrained networks are scored, which, and what is told meanwhile."""

import pytest

from tests.search.benches import Counting, numbers
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.search.bench import Bench
from winnow.search.costs import Costs
from winnow.search.selection import selection_of
from winnow.search.selections.random import by_sampling, counted
from winnow.search.training_free import Judge
from winnow.train.checkpoint import Keeper
from winnow.train.watch import Watch


def judge(asked: list[Architecture] | None = None) -> Judge:
    """The larger the sum, the better."""

    def score(arch):
        (asked if asked is not None else []).append(arch)
        return {"sum": float(sum(arch.values()))}, ""

    return Judge(score, {"sum": 1})


def bench(asked: list[Architecture] | None = None, seed: int = 0, **more) -> Bench:
    return Bench(numbers("abcd"), seed, scorer=lambda: judge(asked), **more)


def test_a_hundred_networks_are_scored_unless_told_otherwise():
    asked: list[Architecture] = []
    arch, rows = by_sampling(bench(asked))
    assert (len(asked), len(rows)) == (100, 100)
    assert arch == max(asked, key=lambda each: sum(each.values()))


def test_each_that_is_scored_is_shown():
    watch = Counting()
    by_sampling(bench(shown=watch.shown), samples=3)
    assert watch.told == [("select (random)", 3), 1, 1, 1]


def test_the_draws_are_those_of_the_seed():
    told = []
    for seed in (0, 0, 1):
        told.append(asked := [])
        by_sampling(bench(asked, seed), samples=5)
    assert told[0] == told[1] != told[2]


def test_a_network_that_takes_all_of_its_limits_is_within_them():
    asked: list[Architecture] = []
    arch, _ = by_sampling(bench(asked, load=lambda arch: sum(arch.values()) / 7), samples=200)
    assert {sum(each.values()) for each in asked} == set(range(8))
    assert sum(arch.values()) == 7


def test_without_limits_nothing_is_beyond_them():
    arch, rows = by_sampling(bench(), samples=256)
    assert (set(arch.values()), len(rows)) == ({3}, 256)


def test_what_was_scored_before_a_stop_is_not_scored_again():
    asked: list[Architecture] = []
    whole = by_sampling(bench(asked), samples=6)
    seen = {each.digest: ({"sum": float(sum(each.values()))}, "") for each in asked[:4]}
    kept = Keeper()
    with kept.piece(seen=seen):
        state = kept.state()
    again: list[Architecture] = []
    assert by_sampling(bench(again, keeper=Keeper(found=state)), samples=6) == whole
    assert again == asked[4:]


def test_it_may_be_left_before_any_that_is_scored():
    """What is kept then lacks the one that comes, and a network seen before is no place to leave at."""

    class Due(Keeper):
        def due(self):
            told.append("due")

    told: list = []
    given = bench(told, keeper=Due())
    made = counted(given, Watch())
    arch = given.space.decide(lambda d: 0)
    made(arch)
    made(arch)
    assert told == ["due", arch]


@pytest.mark.parametrize(("score", "options", "seconds"), [
    (3.0, {}, 300.0), (3.0, {"samples": 8}, 24.0), (None, {"samples": 8}, 0.0),
])  # fmt: skip
def test_a_plan_counts_untrained_networks(score, options, seconds):
    costs = Costs(numbers(), 10, 20, 2, 7.0, lambda: 1.0, lambda: 1.0, score=score)
    assert selection_of(by_sampling).expected(costs, options) == seconds


def test_what_it_asks_for():
    record = selection_of(by_sampling)
    assert (record.needs, record.keeps_limits, record.evidence) == ("initialised", True, "children")
    with pytest.raises(Refused, match="needs scorer"):
        by_sampling(Bench(numbers(), 0))
