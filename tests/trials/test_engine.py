"""A study is its plan: however it is interrupted it has the same trials; what cannot be gone on with is refused."""

import json
import multiprocessing
import resource
import signal
import statistics
import time

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.trials import scores, toys
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.journal import only_driver
from winnow.trials.plan import HIERARCHY, Plan
from winnow.trials.plan import SAMPLERS as plan_names
from winnow.trials.ranges import read_ranges
from winnow.trials.samplers import SAMPLERS
from winnow.trials.search import SpaceSearch

ONE = {"accuracy": "maximize"}
TWO = {"accuracy": "maximize", "cost": "minimize"}
FORK = multiprocessing.get_context("fork")


def study(tmp_path, plan, n, evaluate=scores.score, file="study.log", search=None, **more):
    where = more.pop("where", str(tmp_path / file))
    return run(plan, search or toys.search(), Inline(evaluate), where=where, name="toy", n_trials=n, **more)


def told(rows):
    """All that must not hang on where and when trials ran."""
    return [(r.number, r.parameters, dict(r.objectives), dict(r.constraints), r.state, r.copy_of, r.seed) for r in rows]


@pytest.mark.parametrize(
    ("sampler", "objectives", "options"),
    [
        ("random", ONE, {}),
        ("tpe", TWO, {"n_startup_trials": 5}),
        ("gp", ONE, {"n_startup_trials": 10}),
        ("nsga2", TWO, {"population_size": 5}),
        ("nsga3", TWO, {"population_size": 5}),
        ("brute_force", ONE, {}),
        ("regularised_evolution", ONE, {"population": 6, "tournament": 3}),
    ],
)
def test_a_study_ended_five_times_has_the_trials_of_one_that_was_not(tmp_path, sampler, objectives, options):
    plan = Plan(objectives, {"cost": {"max": 9}}, sampler, options, look_back=3)
    n = 16 if sampler == "gp" else 32
    whole = study(tmp_path, plan, n, file="whole.log")
    for part in (3, 4, n // 2, n - 5, n):
        parts = study(tmp_path, plan, part, file="parts.log")
    assert told(parts) == told(whole)
    assert len({r.parameters for r in whole}) > n // 3  # nothing is drawn again and again
    assert told(study(tmp_path, plan, n, file="whole.log")) == told(whole)  # n_trials is a total


def test_another_seed_gives_other_trials(tmp_path):
    a, b = (study(tmp_path, Plan(ONE, sampler="random", seed=s), 8, file=f"{s}.log") for s in (0, 1))
    assert [r.parameters for r in a] != [r.parameters for r in b]


def test_a_driver_that_dies_between_any_two_lines_loses_trials_in_flight_only(tmp_path):
    """The journal is cut after every line, and within it: from each cut the same study grows."""
    plan = Plan(ONE, {"cost": {"max": 9}}, "nsga2", {"population_size": 3}, look_back=2)
    whole = told(study(tmp_path, plan, 8))
    lines = (tmp_path / "study.log").read_bytes().splitlines(keepends=True)
    assert len(lines) > 30
    for kept in range(1, len(lines), 3):
        (tmp_path / "cut.log").write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        assert told(study(tmp_path, plan, 8, file="cut.log")) == whole, kept


def test_equal_architectures_are_evaluated_once(tmp_path):
    evaluated = []

    def evaluate(job):
        evaluated.append(job.architecture)
        return scores.score(job)

    rows = study(tmp_path, Plan(ONE, sampler="random", look_back=4), 40, evaluate, search=toys.search(2))
    assert len(evaluated) == len(set(evaluated)) == len({r.digest for r in rows}) <= 9
    for r in rows:
        first = next(other for other in rows if other.digest == r.digest)
        assert r.copy_of == (None if first is r else first.number)
        assert r.metrics == first.metrics


def test_a_repeat_of_a_failed_trial_is_evaluated(tmp_path):
    rows = study(tmp_path, Plan(ONE, sampler="random", look_back=2), 30, scores.make(fail=[0]), search=toys.search(1))
    again = next(r for r in rows[1:] if r.digest == rows[0].digest)
    assert (rows[0].state, again.state, again.copy_of) == ("failed", "complete", None)


def test_brute_force_ends_with_the_space(tmp_path):
    rows = study(tmp_path, Plan(ONE, sampler="brute_force", look_back=4), 100, search=SpaceSearch(toys.nested()))
    found = toys.nested()
    assert sorted(r.digest for r in rows) == sorted(a.digest for a in found.every())


def test_what_fails_fails_alone(tmp_path):
    plan = Plan(ONE, sampler="tpe", look_back=2)
    rows = study(tmp_path, plan, 12, scores.make(fail=[3, 4]))
    assert [r.number for r in rows if r.state == "failed"] == [3, 4]
    assert "MemoryError: CUDA out of memory" in rows[3].error
    nan = study(tmp_path, plan, 2, lambda job: {"accuracy": float("nan")}, file="nan.log")
    assert [(r.state, r.error) for r in nan] == [("failed", "accuracy is nan, which is no number to compare")] * 2


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"objectives": {"accuracy": "minimize"}}, "objectives"),
        ({"sampler": "tpe"}, "sampler"),
        ({"seed": 1}, "seed"),
        ({"look_back": 5}, "look_back"),
        ({"constraints": {"cost": {"max": 7}}}, "constraints"),
    ],
)
def test_a_changed_plan_is_refused(tmp_path, change, named):
    plan = {"objectives": ONE, "sampler": "random", "look_back": 4}
    study(tmp_path, Plan(**plan), 2)
    with pytest.raises(Refused, match=f"was begun with {named} .*to start anew, give the study another name or remove"):
        study(tmp_path, Plan(**{**plan, **change}), 4)
    assert len(study(tmp_path, Plan(**plan), 4)) == 4


def test_a_changed_space_is_refused(tmp_path):
    plan = Plan(ONE, sampler="random")
    study(tmp_path, plan, 2)
    with pytest.raises(Refused, match="was begun with search"):
        study(tmp_path, plan, 2, search=toys.search(5))


def test_two_drivers_are_refused(tmp_path):
    lock = tmp_path / "study.log.driver"
    held, done = FORK.Event(), FORK.Event()
    other = FORK.Process(target=_hold, args=(lock, held, done))
    other.start()
    assert held.wait(10)
    with pytest.raises(Refused, match=f"driven by process {other.pid}"):
        study(tmp_path, Plan(ONE), 2)
    done.set()
    other.join()
    assert len(study(tmp_path, Plan(ONE), 2)) == 2


def _hold(lock, held, done):
    with only_driver(lock, "it"):
        held.set()
        done.wait(10)


def test_a_journal_damaged_in_the_middle_is_refused_and_left_alone(tmp_path):
    study(tmp_path, Plan(ONE), 3)
    path = tmp_path / "study.log"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:10] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(Refused, match="is damaged at line 3"):
        study(tmp_path, Plan(ONE), 3)
    assert path.read_bytes() == b"".join(lines)


def test_a_lock_that_a_killed_writer_left_does_not_hold_up(tmp_path):
    study(tmp_path, Plan(ONE), 2)
    (tmp_path / "study.log.lock").touch()
    assert len(study(tmp_path, Plan(ONE), 3)) == 3


def _until_full(tmp_path, told):
    """A study on a disk that has room for half a line more."""
    room = (tmp_path / "study.log").stat().st_size + 100
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
    try:
        study(tmp_path, Plan(ONE), 4)
    except Refused as refusal:
        told.send(str(refusal))


def test_a_full_disk_is_a_sentence_and_no_loss_and_nothing_half_written(tmp_path):
    study(tmp_path, Plan(ONE), 2)
    before = (tmp_path / "study.log").read_bytes()
    heard, told = FORK.Pipe(duplex=False)
    writer = FORK.Process(target=_until_full, args=(tmp_path, told))
    writer.start()
    writer.join()
    assert heard.recv() == (
        f"{tmp_path}/study.log cannot be written (File too large): make room; the same command goes on from there"
    )
    assert (tmp_path / "study.log").read_bytes() == before
    assert len(study(tmp_path, Plan(ONE), 4)) == 4


@pytest.mark.parametrize(
    ("plan", "metrics", "sentence"),
    [
        (Plan({"speed": "maximize"}), {}, "objective 'speed' is not among what the evaluator returns: accuracy, cost"),
        (Plan(ONE, {"latency_ms": {"max": 1}}), {}, "constraint 'latency_ms' is not among what the evaluator returns"),
        (Plan(ONE, sampler="simulated_annealing"), {}, "no sampler 'simulated_annealing': known are random, tpe"),
        (Plan(ONE, sampler="tpe", sampler_options={"startup": 3}), {}, "sampler 'tpe' with {'startup': 3}"),
        (Plan(TWO, sampler="regularised_evolution"), {}, "takes one objective, not 2"),
        (Plan(ONE, sampler="cmaes"), {}, "'cmaes' takes numbers only, and 'd0' is a choice"),
        (Plan(TWO, stopper="median"), {}, "early stopping 'median' takes one objective, not several: take dominance"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(tmp_path, plan, metrics, sentence):
    with pytest.raises(Refused, match=sentence):
        study(tmp_path, plan, 3)


def test_plans_know_every_sampler():
    assert {*plan_names, HIERARCHY} == set(SAMPLERS), "a strategy's own is named by nobody"


def test_plans_refuse_what_is_upside_down():
    with pytest.raises(Refused, match="constraint 'cost' is upside down: min 3 is above max 2"):
        Plan(ONE, {"cost": {"min": 3, "max": 2}})
    with pytest.raises(Refused, match="takes maximize or minimize, not 'up'"):
        Plan({"accuracy": "up"})


def test_optuna_opens_the_journal_as_its_own(tmp_path):
    rows = study(tmp_path, Plan(ONE, {"cost": {"max": 8}}, "random"), 20)
    opened = optuna.load_study(
        study_name="toy", storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    )
    assert [t.state.name.lower() for t in opened.trials] == [r.state for r in rows]
    assert [t.params for t in opened.trials] == [json.loads(r.parameters) for r in rows]
    assert [t.constraints for t in opened.trials] == [r.constraints for r in rows]
    feasible = max((r for r in rows if r.feasible), key=lambda r: r.objectives["accuracy"])
    assert opened.best_trial.value == feasible.objectives["accuracy"]
    assert opened.metric_names == ["accuracy"]


def test_a_database_by_url_holds_the_same_study(tmp_path):
    plan = Plan(TWO, {"cost": {"max": 9}}, "nsga2", {"population_size": 4}, look_back=2)
    url = f"sqlite:///{tmp_path}/study.db"
    study(tmp_path, plan, 5, where=url)
    assert told(study(tmp_path, plan, 12, where=url)) == told(study(tmp_path, plan, 12))


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=r"study\.log\.driver cannot be written: "):
        study(tmp_path, Plan(ONE), 2, file="file/study.log")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refused, match=r"folder cannot be opened as a journal: Is a directory"):
        study(tmp_path, Plan(ONE), 2, file="folder")


def test_a_database_that_goes_away_is_a_sentence_and_no_loss(tmp_path):
    url, gone = f"sqlite:///{tmp_path}/study.db", []

    def evaluate(job):
        if job.number == 3 and not gone:
            gone.append((tmp_path / "study.db").rename(tmp_path / "away.db"))
            (tmp_path / "study.db").write_bytes(b"")
        return scores.score(job)

    plan = Plan(ONE, sampler="random", look_back=1)
    with pytest.raises(Refused, match=r"was lost .*the same command goes on"):
        study(tmp_path, plan, 6, evaluate, where=url)
    (tmp_path / "away.db").rename(tmp_path / "study.db")
    assert told(study(tmp_path, plan, 6, where=url)) == told(study(tmp_path, plan, 6))


def test_a_database_out_of_reach_is_a_sentence_without_the_password(tmp_path):
    with pytest.raises(Refused, match=r"sqlite:////nowhere/study\.db cannot be reached") as refusal:
        study(tmp_path, Plan(ONE), 2, where="sqlite:////nowhere/study.db")
    assert "\n" not in str(refusal.value)
    with pytest.raises(Refused) as refusal:
        study(tmp_path, Plan(ONE), 2, where="postgresql://user:secret@127.0.0.1:1/db")
    assert "secret" not in str(refusal.value)


def test_hyper_parameters_are_trials_too(tmp_path):
    ranges = read_ranges(
        {
            "lr": {"low": 1e-3, "high": 1.0, "log": True},
            "optimiser": {"choices": ["sgd", "adam"]},
            "momentum": {"low": 0.0, "high": 0.9, "when": {"optimiser": "sgd"}},
        }
    )
    search = SpaceSearch(None, ranges)
    rows = study(tmp_path, Plan(ONE, look_back=2), 20, lambda job: {"accuracy": -job.parameters["lr"]}, search=search)
    suggested = [json.loads(r.parameters) for r in rows]
    assert all(("momentum" in p) == (p["optimiser"] == "sgd") for p in suggested)
    assert {p["optimiser"] for p in suggested} == {"sgd", "adam"}
    assert all(1e-3 <= p["lr"] <= 1 for p in suggested)
    for part in (7, 20):
        again = study(
            tmp_path, Plan(ONE, look_back=2), part, lambda job: {"accuracy": -job.parameters["lr"]}, "2", search
        )
    assert told(again) == told(rows)


def test_no_trial_begins_after_the_seconds_are_over(tmp_path):
    assert study(tmp_path, Plan(ONE), 5, seconds=-1.0) == []
    assert len(study(tmp_path, Plan(ONE), 5)) == 5


def test_asking_telling_and_recording_take_no_longer_after_a_thousand_trials(tmp_path):
    clock = []

    def evaluate(job):
        clock.append(time.process_time())
        return scores.score(job)

    study(tmp_path, Plan(ONE, sampler="random"), 1000, evaluate, search=toys.search(12))
    early, late = (statistics.median(clock[i + 1] - clock[i] for i in range(a, a + 150)) for a in (100, 800))
    assert late < 2 * early
