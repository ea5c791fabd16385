"""search.selections.exact: a sum of a few options, whose optimum, limits and gaps are counted by hand."""

import re

import pytest

from tests.search.benches import Counting, Told, numbers
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.search.costs import Costs
from winnow.search.selection import selection_of
from winnow.search.selections.exact import by_optimum, limited

QUICK = {"samples": 27, "population": 2, "generations": 0}  # 27: all there are
WORTH = {"a": 1.0, "b": 3.0, "c": 10.0}


def worth(arch: Architecture) -> float:
    return sum(WORTH[name] * value for name, value in arch.items())


def sizes(arch: Architecture) -> dict[str, float]:
    """100 and what each step of a decision adds: the dearest is worth most; and params that go the other way."""
    return {"macs": 100 + arch["a"] + 2 * arch["b"] + 4 * arch["c"], "params": 50 - arch["a"]}


def bench(most: dict[str, float], **more) -> tuple[Told, list[str]]:
    said: list[str] = []
    allowed = lambda arch: all(sizes(arch)[name] <= limit for name, limit in most.items())  # noqa: E731
    given = {"seed": 3, "sizes": sizes, "allowed": allowed, **more}
    return Told(numbers("abc", 3), truth=worth, most=most, say=said.append, **given), said


@pytest.mark.parametrize(
    ("most", "best"),
    [
        ({}, {"a": 2, "b": 2, "c": 2}),
        ({"macs": 112}, {"a": 0, "b": 2, "c": 2}),  # a limit that is met exactly
        ({"macs": 111}, {"a": 1, "b": 1, "c": 2}),
        ({"macs": 100}, {"a": 0, "b": 0, "c": 0}),
        ({"macs": 112, "params": 49}, {"a": 2, "b": 1, "c": 2}),  # 13 and 25 beat 112's 26, which has an a of 0
        ({"params": 48, "macs": 106}, {"a": 2, "b": 0, "c": 1}),
    ],
)
def test_the_best_sum_within_all_limits_is_taken(most, best):
    made, _ = bench(most)
    arch, rows = by_optimum(made, **QUICK)
    assert dict(arch) == best
    assert rows[-1] == {**rows[-1], "event": 1, "option": arch.digest, "accuracy": worth(arch), "kept": True}
    drawn = rows[:-1]
    assert (len(drawn), {row["event"] for row in drawn}) == (27, {0})
    assert [row["option"] for row in drawn if row["kept"]] == [arch.digest]


def test_what_is_judged_is_announced_and_shown_the_optimum_too():
    watch = Counting()
    made, _ = bench({"macs": 112}, shown=watch.shown)
    by_optimum(made, **QUICK | {"samples": 12})
    assert watch.told == [("select (exact)", 13), *[1] * 13]


def test_an_optimum_that_was_not_drawn_is_judged_once_more():
    made, _ = bench({"macs": 112})
    arch, rows = by_optimum(made, **QUICK | {"samples": 12})
    drawn = made.asked[:12]
    assert arch not in drawn
    assert made.asked[12:] == [arch]
    assert not any(row["kept"] for row in rows[:-1])


def test_how_far_below_evolution_stays_is_told():
    """Of two random networks the better one; a model of all 27 is the truth to a thousandth."""
    drawn: list[Architecture] = []
    made, said = bench({}, allowed=lambda arch: drawn.append(arch) or True, seed=4)
    arch, _ = by_optimum(made, **QUICK)
    below = worth(arch) - max(map(worth, drawn))
    told = re.search(
        r"tau (\S+); its optimum is exact to 0, and evolution under the same sum stays (\S+) below$", said[0]
    )
    assert float(told[2]) == pytest.approx(below, rel=0.01)
    assert below >= 1
    assert 0.9 < float(told[1]) <= 1


def test_evolution_has_fifty_networks_and_twenty_generations_of_them():
    """So that it finds the best of 27, too."""
    made, said = bench({"macs": 112})
    by_optimum(made, samples=27)
    assert said[0].endswith("evolution under the same sum stays 0 below")


def test_where_evolution_finds_nothing_within_the_limits_it_is_said():
    made, said = bench({"macs": 112}, allowed=lambda arch: False)
    assert dict(by_optimum(made, **QUICK)[0]) == {"a": 0, "b": 2, "c": 2}
    assert said[0].endswith("and evolution finds no network within the limits")


def test_two_hundred_networks_are_judged_unless_told_otherwise():
    made = Told(numbers("abcd"), 3, truth=lambda arch: sum(arch.values()))
    _, rows = by_optimum(made, population=2, generations=0)
    assert len(rows) == 201


def test_sizes_are_sums_of_a_first_network_and_of_what_options_add():
    made, _ = bench({"params": 50, "macs": 112})
    sums = limited(made, "exact")
    assert sums.first.tolist() == [50, 100]
    assert [part.name for part in sums.parts] == ["a", "b", "c"]
    adds = [each.tolist() for each in sums.each]
    assert adds == [[[0, 0], [-1, 1], [-2, 2]], [[0, 0], [0, 2], [0, 4]], [[0, 0], [0, 4], [0, 8]]]


def test_sizes_that_are_no_sum_are_seen_on_random_networks():
    """Only where all three are above 0 does anything come on top."""
    odd = {"sizes": lambda arch: {"macs": sum(arch.values()) + all(arch.values())}}
    with pytest.raises(Refused, match="sizes do not add up over the decisions of this space"):
        limited(bench({"macs": 9}, **odd)[0], "exact")


def test_without_limits_no_size_is_asked_for():
    made = Told(numbers("abc", 3), 3, truth=worth)
    sums = limited(made, "exact")
    assert (len(sums.first), [each.shape for each in sums.each]) == (0, [(3, 0)] * 3)


@pytest.mark.parametrize("method", ["exact", "annealing"])
def test_limits_on_whole_networks_are_refused_by_the_name_of_who_asks(method):
    with pytest.raises(Refused, match=rf"'{method}' adds up what single answers cost.*\(max_ram_kib 9\)"):
        limited(bench({"macs": 9}, whole="max_ram_kib 9")[0], method)


def test_limits_that_nothing_keeps_are_refused():
    with pytest.raises(Refused, match="nothing is within the limits"):
        by_optimum(bench({"macs": 99.5})[0], **QUICK)


def test_a_plan_counts_one_network_more_than_it_draws():
    costs = Costs(numbers(), 10, 20, 2, 7.0, lambda: 0.25, lambda: 0.5)
    record = selection_of(by_optimum)
    assert record.expected(costs, {}) == 201 * 30 * 0.5
    assert record.expected(costs, {"samples": 3}) == 4 * 30 * 0.5


def test_what_it_asks_for():
    record = selection_of(by_optimum)
    assert (record.needs, record.evidence) == ("children", "children")
    assert (record.keeps_limits, record.sums, record.trained) == (True, True, True)
