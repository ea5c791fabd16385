"""EcoNAS' scheme: the published numbers of networks and segments, whatever is fit; and what a mutation is."""

import json
import random
from collections import Counter

import pytest

from tests.trials import toys
from tests.trials.scores import longer as quality
from tests.trials.test_engine import ONE, study, told
from winnow.core.errors import Refused
from winnow.spaces import build
from winnow.trials.econas import Network, Settings, populations, segments, slots, tournament
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.front import best
from winnow.trials.hierarchy import mutated
from winnow.trials.plan import HIERARCHY, Plan
from winnow.trials.processes import Processes
from winnow.trials.ranges import read_ranges
from winnow.trials.search import SpaceSearch

PUBLISHED = Settings()
SMALL = {"initial": 4, "continued": [2, 1], "parents": [2, 1, 1], "age": 3, "segment": 2}
CELLS = SpaceSearch(build("darts", {"channels": 4, "layers": 3}))


def plan(look_back=8, **options):
    return Plan(ONE, sampler=HIERARCHY, sampler_options=SMALL | options, fidelity={"epochs": 6.0}, look_back=look_back)


def simulated(cycles, fitness):
    """The sizes of the populations at the start of each cycle, and all networks at the end, as `slots` has them."""
    found, sizes, count = {}, [], 0
    for cycle in range(cycles + 1):
        living = populations(list(found.values()), cycle, PUBLISHED)
        sizes.append(tuple(map(len, living)))
        for slot in slots(living, PUBLISHED):
            level = 1 if slot.network is None else found.pop(slot.network.number).level + 1
            found[count] = Network(count, {}, level, (0.0, fitness()), cycle)
            count += 1
    return sizes[1:], list(found.values()), count


@pytest.mark.parametrize("seed", range(3))
def test_the_published_run_has_its_numbers_of_networks_and_segments_whatever_is_fit(seed):
    sizes, found, count = simulated(100, random.Random(seed).random)
    assert sizes[:6] == [(16, 0, 0), (14, 8, 0), (17, 12, 4), (25, 16, 8), (33, 20, 12), (41, 24, 16)]
    assert all(last == 36 for _, _, last in sizes[10:])
    assert (len(found), count) == (1601, 2797)
    assert sum(network.level == 3 for network in found) == 396
    assert max(network.level for network in found) == 3
    assert segments(100, PUBLISHED) == 2797


def test_a_steady_cycle_costs_less_than_as_many_children_trained_in_full():
    assert (segments(50, PUBLISHED) - segments(49, PUBLISHED)) * 20 == 560 < 16 * 60


def test_the_best_of_sixteen_wins_a_quarter_of_the_tournaments():
    members = [Network(n, {}, 1, (0.0, float(n)), 0) for n in range(16)]
    rng = random.Random(0)
    wins = sum(tournament(members, rng).number == 15 for _ in range(4000)) / 4000
    assert wins == pytest.approx(1 - (15 / 16) ** 5, abs=0.025)  # 0.276; three standard deviations are 0.021


def test_who_was_not_trained_for_so_long_is_no_parent():
    old, young = (Network(n, {}, 1, (0.0, 0.0), cycle) for n, cycle in enumerate((0, 1)))
    assert populations([old, young], 10, PUBLISHED)[0] == [young]
    assert populations([old, young], 9, PUBLISHED)[0] == [old, young]


def test_segments_of_a_study_are_those_of_the_scheme(tmp_path):
    rows = study(tmp_path, plan(), 60, quality)
    levels = Counter(row.fidelity["epochs"] for row in rows)
    assert set(levels) == {2.0, 4.0, 6.0}
    assert [row.fidelity["epochs"] for row in rows[:8]] == [2.0] * 4 + [4.0] * 2 + [2.0] * 2
    by_digest = {}
    for row in rows:
        by_digest.setdefault(row.digest, []).append(row.fidelity["epochs"])
    assert all(set(of) >= {2.0, 4.0} for of in by_digest.values() if 6.0 in of), "no level is left out"
    assert best(plan(), rows).fidelity == {"epochs": 6.0}


def test_what_never_came_to_the_last_level_cannot_be_chosen(tmp_path):
    with pytest.raises(Refused, match=r"none of 8 trials was evaluated in full \(epochs 6\): let the search go on"):
        best(plan(), study(tmp_path, plan(), 8, quality))


def test_a_study_ended_five_times_has_the_trials_of_one_that_was_not(tmp_path):
    whole = study(tmp_path, plan(), 40, quality, file="whole.log")
    for part in (1, 5, 13, 29, 40):
        parts = study(tmp_path, plan(), part, quality, file="parts.log")
    assert told(parts) == told(whole)
    assert [row.fidelity for row in parts] == [row.fidelity for row in whole]


def test_a_driver_that_dies_between_any_two_lines_loses_nothing(tmp_path):
    whole = told(study(tmp_path, plan(), 14, quality))
    lines = (tmp_path / "study.log").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines), 7):
        (tmp_path / "cut.log").write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        assert told(study(tmp_path, plan(), 14, quality, file="cut.log")) == whole, kept


def test_workers_and_the_look_back_change_no_trial(tmp_path):
    def rows(name, look_back, executor):
        return run(plan(look_back), toys.search(), executor, where=str(tmp_path / name), name="toy", n_trials=20)

    two = Processes("tests.trials.scores:make_longer", {}, 2, devices=[])
    assert told(rows("a", 8, Inline(quality))) == told(rows("b", 4, two))


def test_options_and_searches_that_mean_nothing_are_refused(tmp_path):
    with pytest.raises(Refused, match="not 1 and 3"):
        study(tmp_path, plan(continued=[1]), 4, quality)
    with pytest.raises(Refused, match="unexpected keyword argument 'levels'"):
        study(tmp_path, plan(levels=3), 4, quality, file="other.log")
    numbers = SpaceSearch(None, read_ranges({"lr": {"low": 0.1, "high": 1.0}}))
    with pytest.raises(Refused, match="takes no ranges beside them"):
        study(tmp_path, plan(), 4, quality, file="third.log", search=numbers)


def test_what_fails_is_no_member_and_the_search_goes_on(tmp_path):
    def evaluate(job):
        if job.number % 3 == 0:
            raise ValueError("no")
        return quality(job)

    rows = study(tmp_path, plan(), 40, evaluate)
    assert {row.state for row in rows} == {"complete", "failed"}
    assert max(row.fidelity["epochs"] for row in rows) == 6.0
    everything = study(tmp_path, plan(), 9, lambda job: 1 / 0, file="none.log")
    assert all(row.fidelity == {"epochs": 2.0} for row in everything), "random ones, again and again"


def test_a_mutation_changes_one_gene_of_the_cells():
    rng = random.Random(0)
    parameters = {name: rng.choice(list(d.choices)) for name, d in CELLS.distributions.items()}
    kinds = Counter()
    for _ in range(120):
        before, given = CELLS.architecture(parameters), dict(parameters)
        child = mutated(parameters, CELLS, rng)
        assert parameters == given, "the parent keeps its genes"
        after = CELLS.architecture(child)
        assert after != before
        wired = [name for name in before if name.count("/") == 1 and before[name] != after[name]]
        if wired:
            (name,) = wired
            assert len(set(before[name]) & set(after[name])) == 1, "one edge is rewired"
            old, new = (set(a[name]) - set(b[name]) for a, b in ((before, after), (after, before)))
            assert after[f"{name}/{new.pop()}"] == before[f"{name}/{old.pop()}"], "and keeps its operation"
        else:
            (name,) = [name for name in before if before[name] != after[name]]
        assert sum(before[n] != after[n] for n in set(before) & set(after)) == 1
        kinds[name.split("/")[0], bool(wired)] += 1
        parameters = child
    assert all(10 < kinds[cell, wired] < 50 for cell in ("normal", "reduce") for wired in (True, False)), kinds


@pytest.mark.slow  # half a minute of stubs
def test_on_planted_fitness_the_hierarchy_needs_fewer_epochs_than_all_in_full(tmp_path):
    def spent(name, options, epochs, seed):
        """Epochs until the best answer to all decisions has been trained in full."""
        made = Plan(ONE, sampler=HIERARCHY, sampler_options=options, fidelity={"epochs": 6.0}, look_back=8, seed=seed)
        rows = study(tmp_path, made, 400, quality, file=f"{name}{seed}.log", search=toys.search(5))
        sought = json.dumps({f"d{n}": "c" for n in range(5)}, separators=(",", ":"))
        total = 0
        for row in rows:
            total += epochs
            if row.architecture == sought and row.fidelity == {"epochs": 6.0}:
                return total
        return total

    flat = {"initial": 4, "continued": [], "parents": [4], "age": 3, "segment": 6}
    each = [(spent("levels", SMALL, 2, seed), spent("flat", flat, 6, seed)) for seed in range(8)]
    assert sum(a for a, _ in each) < sum(b for _, b in each), each
