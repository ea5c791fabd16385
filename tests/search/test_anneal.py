"""search/anneal, search/fronts and search/exact: FOX-NAS's search, and optima that it is held against."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest

from tests import fox_nas
from winnow.core.errors import Refused
from winnow.search.anneal import Course, Point, Run, anneal, best
from winnow.search.exact import Group, least, optimum
from winnow.search.fronts import front, merged

SIZES = tuple(len(grid) for grid in fox_nas.GRIDS for _ in range(5))  # variables one after another, of all stages
EARLY = [100] * 5 + [1, 0, 0, 1, 1] + [0] * 5 + [0, 0, 0, 0, 1] + [0] * 5
LATE = [1] * 5 + [1, 3, 3, 3, 1] + [1, 3, 3, 3, 3] + [1, 3, 3, 3, 1] + [1, 3, 3, 3, 3]
PUBLISHED = {
    55: (73.679, 54.72, [(4, 2, 3, 2, 3), (4, 2, 3, 2, 3), (4, 2, 3, 6, 7), (4, 2, 3, 6, 3), (3, 6, 5, 6, 7)]),
    80: (75.129, 79.66, None),
    math.inf: (76.248, 174.10, [(4, 6, 7, 6, 7)] * 5),
}


@pytest.fixture(scope="module")
def parts():
    return fox_nas.parts()


def looked_up(parts: list, which: int, base: float):
    tables = [part[which].tolist() for part in parts]
    steps = [math.prod(map(len, fox_nas.GRIDS[i + 1 :])) for i in range(5)]

    def value(p: Point) -> float:
        return base + sum(tables[s][sum(p[5 * v + s] * steps[v] for v in range(5))] for s in range(5))

    return value


def test_the_fronts_have_the_published_sizes(parts):
    assert len(fox_nas.STAGE) == 432
    assert [len(front(*part).costs) for part in parts] == [29, 24, 40, 56, 80]
    assert len(merged(parts).costs) == 654


@pytest.mark.parametrize("limit", PUBLISHED)
def test_the_exact_optimum_is_the_published_one_by_fronts_and_by_integers(parts, limit):
    percent, ms, network = PUBLISHED[limit]
    found, base = merged(parts), (fox_nas.ACCURACY.intercept, fox_nas.LATENCY.intercept)
    at = found.best(limit - base[1])
    assert found.scores[at] + base[0] == pytest.approx(percent, abs=6e-4)
    assert found.costs[at] + base[1] == pytest.approx(ms, abs=6e-3)
    assert network in (None, [fox_nas.STAGE[i] for i in found.picks[at]])
    groups = [Group(str(s), fox_nas.STAGE, points, ms[:, None]) for s, (ms, points) in enumerate(parts)]
    solved = optimum(groups, [1e9 if limit == math.inf else limit - base[1]])
    assert solved.score == pytest.approx(found.scores[at], abs=1e-9)
    assert solved.gap < 1e-6
    assert list(solved.picks.values()) == [fox_nas.STAGE[i] for i in found.picks[at]]


def test_the_fastest_network_costs_what_was_published_and_below_it_there_is_none(parts):
    base = fox_nas.LATENCY.intercept
    found = merged(parts)
    assert found.costs[0] + base == pytest.approx(27.986, abs=6e-4)
    with pytest.raises(ValueError, match="the cheapest costs 11"):
        found.best(27 - base)


def started(allowed, rng: random.Random) -> Point:
    """Random depths, all else at its least; drawn until that is allowed."""
    starts = (tuple(rng.randrange(3) for _ in range(5)) + (0,) * 20 for _ in itertools.count())
    return next(start for start in starts if allowed(start))


@pytest.mark.parametrize("limit", [55, 80])
def test_three_runs_reach_the_exact_optimum_and_never_leave_what_is_allowed(parts, limit):
    score, ms = (looked_up(parts, i, m.intercept) for i, m in ((1, fox_nas.ACCURACY), (0, fox_nas.LATENCY)))
    rng = random.Random(0)

    def allowed(point: Point) -> bool:
        return ms(point) <= limit

    runs = [
        anneal(
            SIZES,
            started(allowed, rng),
            score,
            allowed,
            rng,
            lambda t, first=not i: EARLY if first and t <= 200 else LATE,
        )
        for i in range(3)
    ]
    top = best(runs)
    assert top[0][0] == pytest.approx(PUBLISHED[limit][0], abs=6e-4)
    assert all(allowed(point) for run in runs for _, point in run.taken)
    assert all(10_000 < run.iterations < 25_000 for run in runs)
    assert len({s for s, _ in top}) == len(top) == 5
    assert all(p[s + 10] == p[s + 15] == 0 for _, p in runs[0].taken[:1] for s in range(5))
    random_ones = np.random.default_rng(0).integers(0, 432, (100_000, 5))
    costs = sum(parts[s][0][random_ones[:, s]] for s in range(5)) + fox_nas.LATENCY.intercept
    found = sum(parts[s][1][random_ones[:, s]] for s in range(5))[costs <= limit].max() + fox_nas.ACCURACY.intercept
    assert found == pytest.approx({55: 72.83, 80: 74.55}[limit], abs=0.4)
    assert found < top[0][0] - 0.3


def test_moves_draw_distinct_variables_by_weight_and_shift_each_alike():
    visited: list[Point] = []

    def allowed(point: Point) -> bool:
        visited.append(point)
        return True

    course = Course(moved=1, least=1, patience=30_000, until=0)
    anneal((3, 3, 3), (1, 1, 1), lambda p: 0.0, allowed, random.Random(0), lambda t: (3.0, 1.0, 0.0), course)
    counts = Counter(tuple(int(a - 1) for a in point) for point in visited)
    share = {key: n / len(visited) for key, n in counts.items()}
    assert set(share) == {(0, 0, 0), (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0)}
    for key, expected in {(1, 0, 0): 1 / 4, (-1, 0, 0): 1 / 4, (0, 1, 0): 1 / 12, (0, 0, 0): 1 / 3}.items():
        assert share[key] == pytest.approx(expected, abs=0.01)


def test_after_a_standstill_a_small_loss_is_taken_and_none_after_the_last_such_iteration():
    """A top at 0 and its neighbour a loss lower: who waits long enough steps down, and up again at once."""
    for loss, downhill in ((0.05, True), (0.2, False)):
        course = Course(moved=1, least=1, stall=20, until=2000, patience=300)
        run = anneal(
            (2,), (0,), lambda p, loss=loss: -loss * p[0], lambda p: True, random.Random(1), lambda t: [1.0], course
        )
        down = [score for score, _ in run.taken if score < 0]
        assert bool(down) is downhill
        assert run.iterations >= 2000 - 300 * (not downhill)  # a move that changes nothing is a loss of 0
    hot = Course(moved=1, least=1, until=500, patience=200, temperature=1.0)
    run = anneal((5,), (0,), lambda p: -0.2 * p[0], lambda p: True, random.Random(1), lambda t: [1.0], hot)
    assert min(score for score, _ in run.taken) < -0.2, "a temperature takes losses from the first iteration on"


def test_no_move_within_the_limits_is_refused_instead_of_sought_for_ever():
    with pytest.raises(ValueError, match="none of 50 moves keeps within the limits"):
        anneal((3,), (0,), lambda p: 0.0, lambda p: False, random.Random(0), lambda t: [1.0], tries=50)


def nested(rng: np.random.Generator, costs: int) -> list[Group]:
    """Two units of depth 1, 2 or 3, whose blocks are open in three ways each."""

    def group(name: str, options: tuple, after: tuple = ()) -> Group:
        return Group(
            name, options, rng.normal(size=len(options)), rng.integers(1, 9, (len(options), costs)) * 1.0, after
        )

    groups = []
    for unit in "ab":
        groups.append(group(unit, (1, 2, 3)))
        groups += [
            group(f"{unit}{b}", ("x", "y", "z"), tuple((unit, d) for d in (1, 2, 3) if d >= b)) for b in (1, 2, 3)
        ]
    return groups


def listed(groups: list[Group]) -> list[dict]:
    found = []
    for answers in itertools.product(*(g.options for g in groups)):
        taken = dict(zip((g.name for g in groups), answers, strict=True))
        picks = {g.name: taken[g.name] for g in groups if not g.after or any(taken[n] == o for n, o in g.after)}
        if picks not in found[-1:]:
            found.append(picks)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_the_optimum_under_several_limits_is_that_of_a_full_search(seed):
    groups = nested(np.random.default_rng(seed), 2)
    by_name = {g.name: g for g in groups}

    def total(picks: dict, what: str) -> np.ndarray:
        return sum(getattr(by_name[n], what)[by_name[n].options.index(o)] for n, o in picks.items())

    every = listed(groups)
    for limits in ([25, 1000], [22, 24], [1000, 1000]):
        fits = [p for p in every if (total(p, "costs") <= limits).all()]
        found = optimum(groups, limits)
        assert found.picks == max(fits, key=lambda p: total(p, "scores"))
        assert found.score == pytest.approx(total(found.picks, "scores"))
        assert found.costs.tolist() == total(found.picks, "costs").tolist()
        assert found.gap < 1e-6
    assert least(groups, 0) == min(total(p, "costs")[0] for p in every)
    with pytest.raises(Refused, match="nothing is within the limits 1, 1000 at once: the least of each is"):
        optimum(groups, [1, 1000])


def test_a_limit_is_kept_exactly_where_the_solver_would_let_it_pass_by_a_hair():
    groups = [Group("a", ("small", "large"), np.array([0.0, 1.0]), np.array([[1.0], [1.0 + 1e-7]]))]
    found = optimum(groups, [1.0])
    assert found.picks == {"a": "small"}
    assert found.gap == 0


def test_a_front_keeps_what_nothing_is_cheaper_and_better_than():
    found = front(np.array([2.0, 1, 1, 3, 2, 4]), np.array([5.0, 1, 1, 4, 5, 6]))
    assert (found.costs.tolist(), found.scores.tolist()) == ([1, 2, 4], [1, 5, 6])
    assert found.picks.ravel().tolist() == [1, 0, 5]


def steps_of(course: Course, score=lambda p: 0.0, start: Point = (0,), sizes: tuple = (2,), seed: int = 0, **more):
    """A run over all variables alike."""
    return anneal(
        sizes, start, score, lambda p: True, random.Random(seed), lambda t: [1.0] * len(sizes), course, **more
    )


def test_the_usual_course_is_the_published_one():
    """Liu et al. 2021, public script."""
    course = Course()
    assert (course.moved, course.least, course.cooling) == (8, 5, 1000)
    assert (course.loss, course.stall, course.until, course.patience) == (0.1, 500, 10_000, 5000)
    assert course.temperature is None


def test_a_run_that_takes_nothing_ends_when_its_patience_does():
    run = steps_of(Course(moved=1, least=1, until=0, patience=30))
    assert (run.iterations, run.taken) == (31, ((0.0, (0,)),))


def test_moves_shift_one_variable_fewer_after_each_so_many_iterations():
    counts = []

    def allowed(point: Point) -> bool:
        counts.append(sum(place != 50 for place in point))
        return True

    course = Course(moved=4, least=2, cooling=50, until=0, patience=299)
    anneal((101,) * 6, (50,) * 6, lambda p: 0.0, allowed, random.Random(0), lambda t: [1.0] * 6, course)
    assert [max(counts[i : i + 50]) for i in (0, 50, 100, 150)] == [4, 3, 2, 2], "a shift may be none"
    assert max(counts[49:99]) == 3, "from iteration 50 on"


@pytest.mark.parametrize(("weights", "moves"), [([1.0, 0.0, 2.0], {0, 2}), ([0.0, 0.0, 1.0], {2})])
def test_what_has_no_weight_is_never_shifted_and_fewer_are_where_fewer_have_one(weights, moves):
    visited = []
    course = Course(moved=3, least=2, until=0, patience=100)
    anneal(
        (9,) * 3,
        (4,) * 3,
        lambda p: 0.0,
        lambda p: visited.append(p) or True,
        random.Random(0),
        lambda t: weights,
        course,
    )
    assert {i for point in visited for i in range(3) if point[i] != 4} == moves


def test_a_grid_ends_at_its_ends_and_one_without_an_order_is_jumped_over():
    def places(start: int, **more) -> set[int]:
        seen = []
        course = Course(moved=1, least=1, until=0, patience=200)
        allowed = lambda p: seen.append(p[0]) or True  # noqa: E731
        anneal((6,), (start,), lambda p: 0.0, allowed, random.Random(0), lambda t: [1.0], course, **more)
        return set(seen)

    assert places(0) == {0, 1}
    assert places(5) == {4, 5}
    assert places(3) == {2, 3, 4}
    assert places(0, loose=[0]) == set(range(6))


def test_a_loss_as_large_as_the_limit_is_not_taken():
    for loss, taken in ((0.25, False), (0.2499, True)):
        run = steps_of(
            Course(moved=1, least=1, loss=0.25, stall=3, until=300, patience=100), lambda p, x=loss: -x * p[0]
        )
        assert (len({point for _, point in run.taken}) == 2) is taken


def test_the_best_of_all_runs_are_different_scores_each_with_its_first_point():
    runs = [
        Run(((1.0, (0,)), (3.0, (1,)), (2.0, (2,))), 9),
        Run(((3.0, (5,)), (4.0, (6,)), (0.0, (7,)), (-1.0, (8,))), 9),
    ]
    assert best(runs) == [(4.0, (6,)), (3.0, (1,)), (2.0, (2,)), (1.0, (0,)), (0.0, (7,))]
    assert best(runs, 2) == [(4.0, (6,)), (3.0, (1,))]
