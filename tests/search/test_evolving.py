"""search.evolving: how operations come and go, and how the plan of rounds follows, by hand."""

import itertools
import random
from collections import Counter

import pytest
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.branches import Branches
from winnow.search.evolving import Cells, Judged, Round, best_of, evolves, rounds_of, sampled, selectable, summed

LETTERS = "abcdefgh"


def named(count: int) -> dict[str, nn.Module]:
    return {LETTERS[i]: nn.Identity() for i in range(count)}


def cells(*counts: int, passing: bool = True, most: int = 8) -> Space:
    """Cells of so many operations, any of which may be on."""
    return Space(nn.Sequential(*(Branches(f"c{i}", named(n), most, passing) for i, n in enumerate(counts))))


def single(*counts: int) -> Space:
    """Cells of which one operation is on."""
    return Space(nn.Sequential(*(Choice(f"c{i}", named(n)) for i, n in enumerate(counts))))


def filled(space: Space, keep: int, count: int) -> Cells:
    made = Cells(space, keep)
    made.line_up(0, count, random.Random(0))
    made.refill()
    return made


# ---- what evolves


def test_all_evolves_but_where_an_exact_number_of_several_is_taken():
    assert evolves(Decision("c", ("a", "b")))
    assert evolves(Decision("c", ("a", "b"), 2, least=0))
    assert not evolves(Decision("c", ("a", "b", "c"), 2))
    space = Space(nn.Sequential(Choice("edges", named(3), pick=2), Choice("one", named(2))))
    made = Cells(space, 2)
    assert set(made.active) == set(made.inherited) == set(made.queue) == {"one"}


def test_what_no_architecture_may_hold_never_comes():
    space = Space(nn.Sequential(Choice("c0", named(3), mixture_only=("b",))))
    assert selectable(space.decisions["c0"]) == ["a", "c"]
    assert sorted(filled(space, 5, 3).active["c0"]) == ["a", "c"]


# ---- coming


def test_the_options_between_two_places_come_in_a_random_order_and_no_others():
    made = Cells(cells(8, 8), 4)
    made.line_up(2, 7, random.Random(0))
    assert [sorted(queue) for queue in made.queue.values()] == [list("cdefg")] * 2
    assert len({tuple(made.queue[name]) for name in made.queue}) == 2, "each cell in an order of its own"
    made.line_up(7, 8, random.Random(0))
    assert made.queue == {"c0": ["h"], "c1": ["h"]}
    first = Counter()
    for seed in range(100):
        made.line_up(0, 2, random.Random(seed))
        first[made.queue["c0"][0]] += 1
    assert set(first) == {"a", "b"}


def test_fresh_options_fill_up_beside_what_was_inherited_and_leave_the_queue():
    made = Cells(cells(8), 3)
    made.queue["c0"], made.inherited["c0"] = list("cdefg"), ["a"]
    made.refill()
    assert made.active["c0"] == ["a", "c", "d"]
    assert made.queue["c0"] == list("efg")
    made.inherited["c0"] = list("abcd")
    made.refill()
    assert made.active["c0"] == list("abcd"), "more than it keeps, where more were inherited"
    assert made.queue["c0"] == list("efg")
    made.inherited["c0"] = []
    made.refill()
    made.refill()
    assert (made.active["c0"], made.queue["c0"]) == ([], []), "a cell that passes needs none"


@pytest.mark.parametrize("space", [cells(4, passing=False), single(4)], ids=["one or more", "one"])
def test_a_cell_that_needs_an_operation_keeps_what_it_had_where_none_is_left(space):
    made = Cells(space, 2)
    made.queue["c0"] = ["b"]
    made.refill()
    made.refill()
    assert made.active["c0"] == ["b"]
    made.inherited["c0"] = ["c"]
    made.refill()
    assert made.active["c0"] == ["c"]


def test_inherited_is_what_any_network_uses_in_the_order_of_the_options():
    space = Space(nn.Sequential(Branches("c0", named(4), 8, True), Choice("c1", named(3)), Choice("c2", named(2))))
    made = Cells(space, 2)
    made.inherit([{"c0": ("c", "d"), "c1": "b"}, {"c0": ("a",), "c1": "a", "elsewhere": "x"}])
    assert made.inherited == {"c0": ["a", "c", "d"], "c1": ["a", "b"], "c2": []}
    made.inherit([])
    assert made.inherited == {"c0": [], "c1": [], "c2": []}


def test_settled_is_what_was_inherited_and_nothing_comes_any_more():
    made = filled(cells(6), 3, 6)
    made.inherited["c0"] = ["a"]
    made.settle()
    assert (made.active, made.queue) == ({"c0": ["a"]}, {"c0": []})


def test_a_view_has_the_active_options_and_all_of_what_does_not_evolve():
    space = Space(nn.Sequential(Choice("edges", named(3), pick=2), Choice("one", named(4))))
    made = Cells(space, 2)
    made.active["one"] = ["b", "d"]
    view = made.view()
    assert {name: d.options for name, d in view.decisions.items()} == {"edges": ("a", "b", "c"), "one": ("b", "d")}


def test_what_cells_know_comes_back():
    made, other = filled(cells(6), 2, 6), Cells(cells(6), 2)
    made.inherit([{"c0": ("a", "f")}])
    other.restore(made.state())
    assert (other.active, other.inherited, other.queue) == (made.active, made.inherited, made.queue)
    assert set(made.state()) == {"active", "inherited", "queue"}


# ---- going


def test_what_fires_less_than_minus_two_goes_and_is_counted_over_all_cells():
    made = filled(cells(3, 3), 3, 3)
    gone = made.prune({"c0": torch.tensor([-2.0, -2.001, 5.0]), "c1": torch.tensor([-9.0, -1.9, -3.0])})
    assert gone == 3
    assert {name: sorted(each) for name, each in made.active.items()} == {"c0": ["a", "c"], "c1": ["b"]}


@pytest.mark.parametrize(("space", "left"), [(cells(4, passing=False), 2), (single(4), 2), (cells(4), 0)])
def test_the_least_goes_first_and_two_stay_where_one_is_needed(space, left):
    made = filled(space, 4, 4)
    assert made.prune({"c0": torch.tensor([-3.0, -6.0, -5.0, -4.0])}) == 4 - left
    assert sorted(made.active["c0"]) == ["a", "d"][:left]


def test_what_was_inherited_stays_and_counts_among_the_two():
    made = filled(cells(4, passing=False), 4, 4)
    made.inherited["c0"] = ["b"]
    assert made.prune({"c0": torch.full((4,), -5.0)}) == 2
    assert len(made.active["c0"]) == 2
    assert "b" in made.active["c0"]


# ---- rounds


@pytest.mark.parametrize(("options", "keep", "count"), [(9, 5, 2), (8, 5, 1), (2, 5, 1), (3, 2, 2), (13, 4, 4)])
def test_all_but_one_of_those_that_are_kept_are_new_in_each_round(options, keep, count):
    plan = rounds_of([options], keep, None, None, 50)
    assert [(each.number, each.first, each.end) for each in plan] == [(0, 0, options)] * count
    assert sum(each.epochs for each in plan) == 50


def test_rounds_share_epochs_that_do_not_divide_as_evenly_as_can_be():
    assert [each.epochs for each in rounds_of([9], 3, None, None, 10)] == [2, 3, 2, 3]
    assert [each.epochs for each in rounds_of([9], 3, None, None, 4)] == [1] * 4, "one each is enough"
    with pytest.raises(Refused, match=r"there are 4 rounds, and each takes an epoch or more: epochs is 3; raise it$"):
        rounds_of([9], 3, None, None, 3)


def test_each_space_begins_where_the_one_before_it_ended():
    plan = rounds_of([7, 7], 3, [3, 4], [1, 2], 6)
    assert plan == [Round(0, 0, 3, 2), Round(1, 3, 7, 2), Round(1, 3, 7, 2)]
    counted = rounds_of([7, 7], 3, [3, 4], None, 8)
    assert [each.number for each in counted] == [0, 1, 1, 1], "1 of the first 3 options, 3 of all 7"


def test_decisions_may_differ_in_options_unless_spaces_are_said():
    assert rounds_of([4, 9], 5, None, None, 4)[0].end == 9
    with pytest.raises(Refused, match=r"the options of every decision, 9, not \[4, 5\]$"):
        rounds_of([4, 9], 5, [4, 5], None, 4)
    with pytest.raises(Refused, match=r"rounds takes one number a space, of which there are 1, not \[2, 3\]$"):
        rounds_of([9], 5, None, [2, 3], 9)


# ---- costs that add up


def every(space: Space) -> list[Architecture]:
    return list(space.every())


@pytest.mark.parametrize(
    "space",
    [single(4, 5), cells(3, 2), cells(3, 3, passing=False), cells(4, 5, passing=False, most=1)],
    ids=["one", "any", "one or more", "up to one"],
)
def test_of_what_adds_up_a_table_says_what_all_networks_cost(space):
    price, asked = dict(zip(LETTERS, (3.0, 1.0, 4.0, 0.5, 6.0), strict=False)), []

    def cost(arch) -> float:
        asked.append(arch)
        return 7 + sum(
            (1 + int(name[1])) * price[o] for name, v in arch.items() for o in (v if isinstance(v, tuple) else (v,))
        )

    table = summed(space, cost)
    assert table is not cost
    for arch in every(space):
        table(arch)
    asked.clear()
    found = [table(arch) for arch in every(space)]
    assert asked == [], "each option is asked once"
    assert found == pytest.approx([cost(arch) for arch in every(space)])


def test_a_sum_is_believed_up_to_a_millionth():
    """Networks without the first option cost more than their answers, one by one, say."""
    space = single(5, 4)

    def cost(share: float):
        return lambda arch: 100.0 + (0.0 if "a" in arch.values() else 100 * share)

    assert summed(space, close := cost(0.9e-6)) is not close
    assert summed(space, far := cost(1.2e-6)) is far


def test_a_cost_is_asked_itself_where_decisions_open_others_or_several_are_taken_exactly():
    cost = lambda arch: float(len(arch))  # noqa: E731
    nested = {"a": nn.Identity(), "b": Choice("c1", named(8))}
    assert summed(Space(nn.Sequential(Choice("c0", nested), Choice("c2", named(8)))), cost) is cost
    for others in ([], [Choice("c1", named(2))]):
        assert summed(Space(nn.Sequential(Choice("c0", named(8), pick=2), *others)), cost) is cost


# ---- drawing networks


def price(arch) -> float:
    return float(sum(LETTERS.index(o) + 1 for v in arch.values() for o in (v if isinstance(v, tuple) else (v,))))


def test_networks_are_within_the_band_and_not_on_its_ends():
    space = single(4, 4)
    chances = {name: dict.fromkeys("abcd", 0.5) for name in space.decisions}
    found = sampled(space, chances, random.Random(0), 99, 4.0, 7.0, price)
    assert set(found) == {arch for arch in every(space) if 4 < price(arch) < 7}
    assert len(found) == len(set(found)) == 7


def test_no_more_networks_than_were_asked_for_and_each_is_asked_once_what_it_costs():
    space, asked = single(3, 3), []
    chances = {name: dict.fromkeys("abc", 0.5) for name in space.decisions}
    cost = lambda arch: asked.append(arch) or price(arch)  # noqa: E731
    assert len(sampled(space, chances, random.Random(0), 5, -1.0, 99.0, cost)) == 5
    assert len(asked) == 5
    asked.clear()
    assert sampled(space, chances, random.Random(0), 4, 50.0, 99.0, cost) == []
    assert len(asked) == len(set(asked)) == 9, "none of them fits, and there are no more"
    assert sampled(space, chances, random.Random(0), 0, -1.0, 99.0, cost) == []


def test_chances_come_first_and_even_ones_give_the_rest():
    space, draws = single(4, 4), random.Random(0)
    chances = {name: {"a": 0.9995, "b": 0.9995, "c": 0.0005, "d": 0.0005} for name in space.decisions}
    found = sampled(space, chances, draws, 6, 0.0, 99.0, price)
    likely = set(map(Architecture.of, ({"c0": x, "c1": y} for x, y in itertools.product("ab", repeat=2))))
    assert set(found[:4]) == likely
    assert len(set(found)) == 6


def test_what_has_no_chances_is_drawn_evenly():
    space = single(4, 3)
    found = sampled(space, {"c0": dict.fromkeys("abcd", 0.5)}, random.Random(0), 12, 0.0, 99.0, price)
    assert set(found) == set(every(space))


# ---- the front


def judged(name: str, cost: float, score: float, **spare: bool) -> Judged:
    return Judged(Architecture.of({"a": name}), cost, score, **spare)


def test_on_the_front_are_those_that_nothing_beats_from_the_cheapest_on():
    networks = [judged("x", 9, 5), judged("y", 1, 1), judged("z", 5, 1), judged("v", 5, 3), judged("w", 9, 5)]
    assert [each.architecture["a"] for each in best_of(networks)] == ["y", "v", "x"]


def test_spare_networks_push_others_off_and_are_left_out():
    networks = [judged("x", 5, 5), judged("y", 7, 9), judged("s", 4, 6, spare=True)]
    assert [each.architecture["a"] for each in best_of(networks)] == ["y"]
    networks[2] = judged("s", 4, 99, spare=True)
    assert [each.architecture["a"] for each in best_of(networks)] == ["x", "y"], "where nothing would be left"
    assert not judged("x", 1, 1).spare
