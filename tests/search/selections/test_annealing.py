"""search.selections.annealing: what runs begin with and are told, and what becomes of what they took.

The annealing itself, where it is not asked about, is one that takes what a test says.
"""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

from tests.search.benches import Counting, Told, numbers
from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.search.anneal import Run
from winnow.search.costs import Costs
from winnow.search.selection import selection_of
from winnow.search.selections import annealing
from winnow.search.selections.annealing import by_annealing

OPTIONS = {"depth": (1, 2), "ratio": (2, 4), "kernel": (3, 5)}
WHAT = ("depth", "block1/ratio", "block1/kernel", "block2/ratio", "block2/kernel")


def macs(arch: Architecture) -> dict[str, float]:
    return {"macs": 100 + sum(arch.values())}


def worth(arch: Architecture) -> float:
    return sum(value * 4**i for i, value in enumerate(arch.values()))


def bench(space: Space, most: float | None = None, **more) -> tuple[Told, list[str]]:
    said: list[str] = []
    limits = {} if most is None else {"macs": most}
    return Told(space, 3, say=said.append, most=limits, **{"truth": worth, "sizes": macs, **more}), said


def staged(count: int) -> Space:
    """So many units of open depth, ratios and kernels, as names alone."""
    names = [f"unit{i}/{what}" for i in range(1, count + 1) for what in WHAT]
    return Space(
        nn.Sequential(*(Choice(name, {o: nn.Identity() for o in OPTIONS[name.rpartition("/")[2]]}) for name in names))
    )


@pytest.fixture
def taking(monkeypatch) -> Callable[[Callable], list[dict[str, Any]]]:
    """Takes what a function of (score, allowed) says of a run; returns a list of what each run is told."""

    def made(takes: Callable) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = []

        def anneal(sizes, start, score, allowed, rng, weights, course, loose):
            told = {"sizes": sizes, "start": start, "score": score, "allowed": allowed, "weights": weights}
            runs.append({**told, "course": course, "loose": loose})
            return Run(tuple((score(point), point) for point in takes(score, allowed)), 1)

        monkeypatch.setattr(annealing, "anneal", anneal)
        return runs

    return made


def every(space: Space) -> list[tuple[int, ...]]:
    return list(itertools.product(*(range(len(d.values)) for d in space.decisions.values())))


def test_the_best_points_of_all_runs_are_judged_and_the_best_network_is_taken(taking):
    """The model likes (2, 2, 2) best, and the network of (0, 2, 1) turns out to be better."""
    points = iter([[(0, 0, 1), (2, 2, 2), (0, 2, 1)], [(1, 0, 0), (2, 2, 2)]])
    taking(lambda score, allowed: next(points))
    watch, space = Counting(), numbers("abc", 3)
    special = {"a": 0, "b": 2, "c": 1}
    made, _ = bench(space, truth=lambda arch: 1000.0 if dict(arch) == special else worth(arch), shown=watch.shown)
    arch, rows = by_annealing(made, samples=20, runs=2, candidates=3)
    assert dict(arch) == special
    assert watch.told == [("select (annealing)", 23), *[1] * 23]
    drawn, judged = ([row for row in rows if not row["decision"] and row["event"] == event] for event in (0, 1))
    assert len(drawn) == 20
    assert [row["kept"] for row in judged].count(True) == 1
    assert {row["accuracy"] for row in judged if row["kept"]} == {1000.0}
    assert len(judged) == 3
    assert [row["option"] for row in drawn if row["kept"]] in ([], [arch.digest])
    assert len([row for row in rows if row["decision"]]) == 9


def test_of_equals_the_one_that_the_model_prefers_is_taken(taking):
    taking(lambda score, allowed: [(0, 0, 0), (0, 0, 2), (0, 0, 1)])
    made, _ = bench(numbers("abc", 3), truth=lambda arch: float(arch["c"] > 0))
    scored = by_annealing(made, samples=27, runs=1, candidates=2)
    judged = [row for row in scored[1] if row["event"] == 1 and not row["decision"]]
    assert [row["kept"] for row in judged] == [True, False]
    assert judged[0]["accuracy"] == judged[1]["accuracy"] == 1.0


@pytest.mark.parametrize(("options", "runs", "judged"), [({}, 3, 5), ({"runs": 1, "candidates": 2}, 1, 2)])
def test_there_are_three_runs_and_five_candidates_unless_told_otherwise(taking, options, runs, judged):
    space = numbers("abc", 3)
    told = taking(lambda score, allowed: every(space))
    _, rows = by_annealing(bench(space)[0], samples=27, **options)
    assert len(told) == runs
    assert len([row for row in rows if row["event"] == 1]) == judged


def test_three_hundred_networks_are_judged_unless_told_otherwise(taking):
    space = numbers("abcde")
    taking(lambda score, allowed: [(0, 0, 0, 0, 0)])
    _, rows = by_annealing(bench(space)[0], runs=1)
    assert len([row for row in rows if row["event"] == 0 and not row["decision"]]) == 300


@pytest.mark.parametrize("most", [None, 104])
def test_how_far_below_the_optimum_the_runs_end_is_told(taking, most):
    """The optimum within the limits is looked for among all points, by the score that runs are given."""
    space = numbers("abc", 3)
    told = taking(lambda score, allowed: [(1, 0, 0), (0, 1, 0), (0, 0, 0)])
    made, said = bench(space, most)
    by_annealing(made, samples=27, runs=1)
    score, allowed = told[0]["score"], told[0]["allowed"]
    best = max(score(point) for point in every(space) if allowed(point))
    below = best - max(score(point) for point in [(1, 0, 0), (0, 1, 0)])
    assert below > 10
    assert said[0].endswith(f"annealing ends {below:.3g} below the exact optimum of that model")


def test_what_ends_above_the_optimum_by_rounding_ends_nothing_below_it(monkeypatch):
    def anneal(sizes, start, score, *more):
        return Run(((score((2, 2, 2)) + 1e-3, (2, 2, 2)),), 1)

    monkeypatch.setattr(annealing, "anneal", anneal)
    made, said = bench(numbers("abc", 3))
    by_annealing(made, samples=27, runs=1)
    assert "; annealing ends 0 below" in said[0]


def test_a_point_that_meets_a_limit_exactly_is_allowed(taking):
    space = numbers("abc", 3)
    told = taking(lambda score, allowed: [(0, 0, 0)])
    by_annealing(bench(space, 103)[0], samples=27, runs=1)
    assert all(told[0]["allowed"](point) is (sum(point) <= 3) for point in every(space))
    assert all(sum(run["start"]) <= 3 for run in told)


def test_each_run_begins_anywhere_within_the_limits(taking):
    space = numbers("abc", 3)
    told = taking(lambda score, allowed: [(0, 0, 0)])
    by_annealing(bench(space, 103)[0], samples=27, runs=20)
    starts = {run["start"] for run in told}
    assert {sum(start) for start in starts} >= {1, 2, 3}
    assert len(starts) > 8


def test_where_only_one_network_is_allowed_a_run_begins_with_it(taking):
    """One of 65,536: random starts do not meet it."""
    space = numbers("abcdefgh")
    told = taking(lambda score, allowed: [(0,) * 8])
    by_annealing(bench(space, 100)[0], samples=40, runs=1)
    assert told[0]["start"] == (0,) * 8


def test_where_few_networks_are_allowed_a_run_begins_with_one_of_those(taking):
    """What is cheap is not what comes first: the last options of all, but for one step, are the cheapest."""
    space = numbers("abcdefgh")
    told = taking(lambda score, allowed: [told[-1]["start"]])
    sizes = lambda arch: {"macs": 500 - sum(arch.values())}  # noqa: E731
    by_annealing(bench(space, 477, sizes=sizes)[0], samples=40, runs=1)
    assert sum(told[0]["start"]) in (23, 24)


@pytest.mark.parametrize(("options", "temperature"), [({}, None), ({"temperature": 0.5}, 0.5)])
def test_the_course_is_the_published_one_but_for_a_temperature(taking, options, temperature):
    told = taking(lambda score, allowed: [(0, 0, 0)])
    by_annealing(bench(numbers("abc", 3))[0], samples=27, runs=1, **options)
    assert told[0]["course"] == annealing.Course(temperature=temperature)


def test_what_is_no_number_has_no_neighbours(taking):
    space = Space(nn.Sequential(*numbers("a", 3).model, Choice("b", {o: nn.Identity() for o in ("x", "y")})))
    told = taking(lambda score, allowed: [(0, 0)])
    made, _ = bench(space, truth=lambda arch: float(arch["a"]))
    by_annealing(made, samples=6, runs=1)
    assert (told[0]["sizes"], told[0]["loose"]) == ([3, 2], frozenset({1}))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({}, "the stages explain accuracy"),
        ({"model": "stages"}, "the stages explain accuracy"),
        ({"model": "options"}, "most of the accuracy that options explain"),
    ],
)
def test_stages_are_the_model_where_there_are_such_unless_told_otherwise(taking, model, said):
    """Depths begin anywhere and the others at their least; single options begin anywhere."""
    space = staged(3)
    told = taking(lambda score, allowed: [(0,) * 15])
    made, text = bench(space, truth=lambda arch: float(sum(arch.values())))
    by_annealing(made, samples=60, runs=6, **model)
    assert said in text[0]
    assert {place for run in told for place in run["start"][:3]} == {0, 1}
    others = {place for run in told for place in run["start"][3:]}
    assert others == ({0, 1} if "options" in said else {0})


def test_the_first_run_of_five_stages_moves_depths_first(taking):
    told = taking(lambda score, allowed: [(0,) * 25])
    made, _ = bench(staged(5), truth=lambda arch: float(sum(arch.values())))
    by_annealing(made, samples=60, runs=3)
    assert [run["weights"](1)[0] for run in told] == [100, 1, 1]


def test_stages_begin_with_the_smallest_network_where_nothing_else_is_allowed(taking):
    """No more than 24 of 1 to 2, 2 to 4 and 3 to 5: a single depth more is too much."""
    least = 100 + 3 * (1 + 2 + 2 + 3 + 3)
    told = taking(lambda score, allowed: [(0,) * 15])
    truth = lambda arch: float(sum(arch.values()))  # noqa: E731
    by_annealing(bench(staged(3), least, truth=truth)[0], samples=60, runs=8)
    assert {run["start"] for run in told} == {(0,) * 15}
    made, _ = bench(staged(3), least + 1, truth=truth)
    told.clear()
    by_annealing(made, samples=60, runs=8)
    assert {sum(run["start"][:3]) for run in told} == {0, 1}


def test_networks_of_stages_that_are_too_large_at_their_least_are_refused():
    """Large kernels are the cheap ones here, and kernels begin small."""
    sizes = lambda arch: {"macs": 100 - sum(arch.values())}  # noqa: E731
    made, _ = bench(staged(3), 60, truth=lambda arch: float(sum(arch.values())), sizes=sizes)
    with pytest.raises(Refused, match="no network whose stages are alike is within the limits"):
        by_annealing(made, samples=60, runs=1)


def test_a_plan_counts_what_is_drawn_and_the_candidates():
    costs = Costs(numbers(), 10, 20, 2, 7.0, lambda: 0.25, lambda: 0.5)
    record = selection_of(by_annealing)
    assert record.expected(costs, {}) == 305 * 30 * 0.5
    assert record.expected(costs, {"samples": 7, "candidates": 2}) == 9 * 30 * 0.5


def test_what_it_asks_for():
    record = selection_of(by_annealing)
    assert (record.needs, record.evidence) == ("children", "model")
    assert (record.keeps_limits, record.sums, record.trained) == (True, True, True)
