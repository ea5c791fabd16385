"""Workers in processes of their own give the trials of one process, whatever is killed on the way."""

import collections
import multiprocessing
import random
import signal
import time

import psutil
import pytest

from tests.trials import scores, toys
from tests.trials.test_engine import ONE, told
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan
from winnow.trials.processes import LIVES, Processes

PLAN = Plan(ONE, {"cost": {"max": 18}}, "regularised_evolution", {"population": 8, "tournament": 4})


def parallel(where, n, workers=3, **settings):
    executor = Processes("tests.trials.scores:make", settings, workers)
    return run(PLAN, toys.search(8), executor, where=str(where), name="toy", n_trials=n)


def alone(where, n, **settings):
    return run(PLAN, toys.search(8), Inline(scores.make(**settings)), where=str(where), name="toy", n_trials=n)


def test_three_workers_give_the_trials_of_one_process_and_what_dies_dies_alone(tmp_path):
    rows = parallel(tmp_path / "many.log", 30, seconds=0.005, fail=[4, 7], die=[9])
    assert [(r.number, r.error) for r in rows if r.state == "failed"] == [
        (4, "MemoryError: CUDA out of memory, says the toy"),
        (7, "MemoryError: CUDA out of memory, says the toy"),
        (9, "its process ended with status 77"),
    ]
    assert told(rows) == told(alone(tmp_path / "one.log", 30, fail=[4, 7, 9]))


@pytest.mark.parametrize("stranger", ["winnow/__init__", "queue", "types", "inspect", "numpy", "torch"])
def test_modules_in_the_present_folder_hide_none_of_ours(tmp_path, monkeypatch, stranger):
    """As a folder of the clone's name above it, or a user's file that is called like one of Python's."""
    (tmp_path / f"{stranger}.py").parent.mkdir(exist_ok=True)
    (tmp_path / f"{stranger}.py").write_text("raise SystemExit('the stranger')")
    monkeypatch.chdir(tmp_path)
    (row,) = parallel(tmp_path / "s.log", 1, workers=1)
    assert row.state == "complete"


def test_a_trial_that_is_always_killed_fails_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.trials.processes.LIVES", 2)
    killer = Processes("tests.trials.scores:make_suicidal", {}, 1)
    rows = run(PLAN, toys.search(), killer, where=str(tmp_path / "s.log"), name="toy", n_trials=1)
    assert [(r.state, r.error) for r in rows] == [
        ("failed", "its process was killed 2 times; the machine may lack memory")
    ]
    assert LIVES > 2


def test_what_no_trial_can_do_ends_the_study_with_a_sentence(tmp_path):
    for factory, sentence in [
        ("tests.trials.scores:nothing", "no evaluator 'tests.trials.scores:nothing'"),
        ("tests.trials.scores:make_broken", "could not be made: ZeroDivisionError"),
    ]:
        with pytest.raises(Refused, match=sentence):
            run(PLAN, toys.search(), Processes(factory, {}, 1), where=str(tmp_path / "s"), name="toy", n_trials=2)
    with pytest.raises(Refused, match="9 workers need a look_back of as many or more, not 8"):
        run(PLAN, toys.search(), Processes("x:y", {}, 9), where=str(tmp_path / "s"), name="toy", n_trials=2)


def test_each_process_has_one_device(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    executor = Processes("tests.trials.scores:make_seeing", {}, 3)
    rows = run(PLAN, toys.search(), executor, where=str(tmp_path / "s"), name="toy", n_trials=9)
    assert {(r.device, r.metrics["visible"]) for r in rows} <= {("cuda:5", 5.0), ("cuda:7", 7.0)}
    assert len({r.device for r in rows}) == 2


FORK = multiprocessing.get_context("fork")


def chaos(tmp_path, trials, kills, seed):
    """Drive a study in a process of its own while a hand kills it or one of its workers; how often it did."""
    rng, journal, log = random.Random(seed), tmp_path / "study.log", tmp_path / "evaluated"
    left, orphans = kills, []
    while True:
        driver = FORK.Process(target=parallel, args=(journal, trials), kwargs={"seconds": 0.03, "log": str(log)})
        driver.start()
        begun = journal.stat().st_size if journal.exists() else 0
        while driver.is_alive():
            time.sleep(rng.uniform(0.0, 0.1))
            grown = journal.exists() and journal.stat().st_size > begun  # each life gets somewhere
            workers = psutil.Process(driver.pid).children() if driver.is_alive() else []
            if not (left and grown and workers):
                continue
            left -= 1
            if rng.random() < 0.5:
                orphans += workers
                driver.kill()
                driver.join()
            else:
                rng.choice(workers).kill()
                begun = journal.stat().st_size
        if driver.exitcode == 0:
            break
        assert driver.exitcode == -signal.SIGKILL
    psutil.wait_procs(orphans, timeout=20)
    assert not [p for p in orphans if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    evaluated = collections.Counter(line.split()[0] for line in log.read_text().splitlines())
    return kills - left, sum(evaluated.values()) - len(evaluated)


def check_chaos(tmp_path, trials, kills, seed):
    killed, again = chaos(tmp_path, trials, kills, seed)
    assert killed == kills
    rows = parallel(tmp_path / "study.log", trials)
    assert told(rows) == told(alone(tmp_path / "one.log", trials))
    assert again <= 3 * kills  # a kill costs what was in flight: at most all three workers' trials
    return again


@pytest.fixture
def many_lives(monkeypatch):
    """The hand may hit one trial often, and slow machines give it time to; here that is not the trial's fault."""
    monkeypatch.setattr("winnow.trials.processes.LIVES", 1000)


@pytest.mark.usefixtures("many_lives")
def test_killed_workers_and_drivers_change_nothing(tmp_path):
    check_chaos(tmp_path, trials=60, kills=4, seed=0)


@pytest.mark.slow
@pytest.mark.usefixtures("many_lives")
def test_a_hundred_kills_change_nothing(tmp_path):
    again = check_chaos(tmp_path, trials=1000, kills=100, seed=1)
    print(f"100 kills, 1000 trials, {again} evaluations lost and run again")


def test_eight_workers_have_the_trials_of_one_process(tmp_path):
    eight = parallel(tmp_path / "eight.log", 48, workers=8, seconds=0.005)
    assert told(eight) == told(alone(tmp_path / "one.log", 48))


@pytest.mark.slow
def test_eight_workers_killed_and_resumed_five_times_have_the_trials_of_one_process(tmp_path):
    """Twenty seconds, most of it spent on starting processes."""
    journal, log = tmp_path / "killed.log", tmp_path / "evaluated"
    for _ in range(5):
        evaluated = len(log.read_text().splitlines()) if log.exists() else 0
        settings = {"workers": 8, "seconds": 0.02, "log": str(log)}
        driver = FORK.Process(target=parallel, args=(journal, 48), kwargs=settings)
        driver.start()
        while not (log.exists() and len(log.read_text().splitlines()) >= evaluated + 6):
            time.sleep(0.01)
        assert driver.is_alive()
        driver.kill()
        driver.join()
    assert told(parallel(journal, 48, workers=8)) == told(alone(tmp_path / "one.log", 48))


def test_closing_ends_what_is_running(tmp_path):
    executor = Processes("tests.trials.scores:make", {"seconds": 30.0, "log": str(tmp_path / "hunter2")}, 1)
    executor.submit(0, {"number": 0, "seed": 0, "parameters": {}, "architecture": None, "fidelity": {}})
    mine = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
    (child,) = [p for p in mine if "winnow.trials.worker" in " ".join(p.cmdline())]
    assert "hunter2" not in " ".join(child.cmdline()), "what it is to do may hold a password, and arguments are public"
    executor.close()
    assert not child.is_running()
