"""search.selections.shortlist: the best of what a search kept in mind, of scores that are told."""

import pytest

from tests.search.benches import Counting, Told, numbers
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.search.bench import Bench
from winnow.search.costs import Costs
from winnow.search.selection import selection_of
from winnow.search.selections.shortlist import by_shortlist
from winnow.train.checkpoint import Keeper

SPACE = numbers("a", 5)
LISTED = tuple(Architecture.of({"a": i}) for i in (3, 0, 4, 1))
SCORES = {0: 50.0, 1: 70.0, 3: 60.0, 4: 90.0}


def bench(**more) -> Told:
    return Told(SPACE, 0, truth=lambda arch: SCORES[arch["a"]], shortlist=LISTED, **more)


def test_the_best_of_the_list_is_taken_and_all_are_shown_in_its_order():
    made = bench()
    arch, rows = by_shortlist(made)
    assert (dict(arch), tuple(made.asked)) == ({"a": 4}, LISTED)
    told = [(row["event"], row["option"], row["accuracy"], row["kept"]) for row in rows]
    assert told == [(i, each.digest, SCORES[each["a"]], i == 2) for i, each in enumerate(LISTED)]


def test_what_is_beyond_the_limits_is_neither_judged_nor_taken():
    watch = Counting()
    made = bench(allowed=lambda arch: arch["a"] < 3, shown=watch.shown)
    arch, rows = by_shortlist(made)
    assert (dict(arch), [each["a"] for each in made.asked]) == ({"a": 1}, [0, 1])
    assert [(row["event"], row["kept"]) for row in rows] == [(0, False), (1, True)]
    assert watch.told == [("select (shortlist)", 2), 1, 1]


def test_a_list_of_which_nothing_is_within_the_limits_says_how_long_it_is():
    made = bench(allowed=lambda arch: False, limits="max_macs 7")
    with pytest.raises(Refused, match=r"none of the 4 architectures .* within the limits \(max_macs 7\): loosen these"):
        by_shortlist(made)
    assert made.asked == []


def test_a_search_that_left_no_list_is_told():
    with pytest.raises(Refused, match="needs shortlist, which the search before it does not leave"):
        by_shortlist(Bench(SPACE, 0))


def test_what_was_judged_before_a_stop_is_not_judged_again():
    whole = by_shortlist(bench())
    kept = Keeper()
    with kept.piece(known={LISTED[0].digest: 60.0, LISTED[1].digest: 50.0}):
        state = kept.state()
    made = bench(keeper=Keeper(found=state))
    assert (by_shortlist(made), tuple(made.asked)) == (whole, LISTED[2:])


def test_a_plan_counts_ten_children_each_on_both_sorts_of_rows():
    record = selection_of(by_shortlist)
    assert record.expected(Costs(SPACE, 3, 4, 1, 1.0, lambda: 1.0, lambda: 0.5), {}) == 10 * (3 + 4) * 0.5
    assert (record.needs, record.keeps_limits, record.evidence) == ("shortlist", True, "children")
