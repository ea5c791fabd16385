"""search.selection: the record of a selection, what it needs of a search, and which of its options go where."""

import pytest

from tests.search.toys import smooth
from winnow.core.architecture import Architecture
from winnow.search.costs import Costs
from winnow.search.selection import Selection, selection, selection_of, unsummed
from winnow.search.strategy import CHILDREN, INITIALISED, LEFT, LOGITS, MIXTURE

ARCH = Architecture.of({"a": "x"})


def choose(bench, *, count: int = 3, way: str = "up"):
    return ARCH, [{"bench": bench, "count": count, "way": way}]


def inner(bench, *, count: int = 9, depth: int):
    return ARCH, []


def test_a_function_that_says_nothing_needs_nothing_and_claims_nothing():
    found = selection_of(choose)
    assert found == Selection(choose)
    assert (found.needs, found.reason, found.evidence, found.also) == ("", "", "", None)
    assert (found.keeps_limits, found.sums, found.trained) == (False, False, False)
    assert found.expected(costs(), {"count": 5}) == 0


def test_a_function_that_says_what_it_needs_stays_as_it_is_and_has_its_record():
    def mine(bench):
        return ARCH, []

    marked = selection(LOGITS, "it ranks them", keeps_limits=True, evidence="children")(mine)
    assert marked is mine
    assert selection_of(mine) == Selection(mine, LOGITS, "it ranks them", keeps_limits=True, evidence="children")


def test_what_no_strategy_leaves_cannot_be_needed():
    for word in LEFT:
        assert selection_of(selection(word, "")(lambda bench: (ARCH, []))).needs == word
    with pytest.raises(ValueError, match=r"^a selection needs one of logits, mixture, .*, shortlist; not 'logit'$"):
        selection("logit", "")(lambda bench: (ARCH, []))


def test_something_else_of_that_name_is_no_record():
    def mine(bench):
        return ARCH, []

    mine.selection = "logits"
    assert selection_of(mine) == Selection(mine)


@pytest.mark.parametrize(
    ("needs", "trained", "leaves", "serves"),
    [
        ("", False, {INITIALISED}, True),
        ("", True, {INITIALISED}, False),
        ("", True, {CHILDREN}, True),
        ("", False, set(), True),
        (LOGITS, False, {LOGITS, MIXTURE}, True),
        (LOGITS, False, {MIXTURE}, False),
        (LOGITS, True, {LOGITS, INITIALISED}, False),
        (LOGITS, True, {LOGITS}, True),
        (LOGITS, False, {LOGITS, INITIALISED}, True),
    ],
)
def test_a_selection_serves_where_its_need_is_left_and_weights_are_trained_if_they_must_be(
    needs, trained, leaves, serves
):
    assert Selection(choose, needs, trained=trained).serves(leaves) is serves


def test_options_are_those_of_the_function_and_of_what_it_begins_with():
    assert Selection(choose).options() == {"count": (int, 3), "way": (str, "up")}
    both = Selection(choose, also=inner)
    assert both.functions() == (choose, inner)
    assert both.options() == {"count": (int, 3), "way": (str, "up"), "depth": (int, ...)}


def test_it_runs_with_the_options_it_is_given():
    assert Selection(choose).run("bench", {"count": 7}) == (ARCH, [{"bench": "bench", "count": 7, "way": "up"}])


def costs() -> Costs:
    return Costs(smooth(), 100, 10, 4, 0.5, lambda: 2.0, lambda: 3.0)


def test_what_it_will_take_is_asked_with_the_options_that_this_asks_for():
    def seconds(costs: Costs, *, count: int = 1) -> float:
        return count * costs.step * costs.child_row()

    found = Selection(choose, seconds=seconds)
    assert found.expected(costs(), {"count": 4, "way": "down"}) == 6
    assert found.expected(costs(), {}) == 1.5


def test_costs_of_a_search_that_trains_know_no_score():
    assert costs().score is None
    assert costs().rows == 0


def test_limits_that_are_no_sum_are_told_with_what_would_work():
    said = unsummed("additive", "latency_ms up to 3")
    assert said.startswith("'additive' adds up")
    assert "(latency_ms up to 3): select with evolution" in said
