"""A cluster of two nodes on 127.0.0.1 gives the trials of one process, also where a node is killed on the way."""

import multiprocessing
import sys
import time

import psutil
import pytest

from tests.clusters import ABSENT, NODE, cluster_of, killed_when, ray_test
from tests.trials import scores, toys
from tests.trials.test_engine import ONE, told
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan

PLAN = Plan(ONE, {"cost": {"max": 18}}, "regularised_evolution", {"population": 8, "tournament": 4}, look_back=4)
FACTORY = "tests.trials.scores:make"


@pytest.fixture(scope="module")
def cluster():
    """Two nodes with two CPUs each; the second has what is called "far" besides."""
    with cluster_of(NODE) as made:
        made.add_node(**NODE, resources={"far": 1})
        yield made


def on_ray(where, n, address, workers=4, settings=None, factory=FACTORY, **more):
    from winnow.trials.ray_executor import Ray

    executor = Ray(factory, settings or {}, workers, address=address, **more)
    return run(PLAN, toys.search(8), executor, where=str(where), name="toy", n_trials=n)


def alone(where, n, **settings):
    return run(PLAN, toys.search(8), Inline(scores.make(**settings)), where=str(where), name="toy", n_trials=n)


@ray_test
def test_a_cluster_gives_the_trials_of_one_process(tmp_path, cluster):
    rows = on_ray(tmp_path / "ray.log", 24, cluster.address, settings={"fail": [4, 7], "die": [9]})
    assert [(r.number, r.error) for r in rows if r.state == "failed"] == [
        (4, "MemoryError: CUDA out of memory, says the toy"),
        (7, "MemoryError: CUDA out of memory, says the toy"),
        (9, "its process ended with status 77"),
    ]
    assert told(rows) == told(alone(tmp_path / "one.log", 24, fail=[4, 7, 9]))


@ray_test
def test_what_no_node_has_is_a_sentence(tmp_path, cluster):
    for resources, sentence in [
        ({"gpu": 1}, r"a trial asks for cpu 1, gpu 1, which no node of the Ray cluster has \(they have cpu 2, gpu 0; "),
        ({"far": 1, "cpu": 3}, r"asks for cpu 3, far 1, which no node"),
        ({"cpu": -1}, r"trials\.resources: cpu takes a number of 0 or more, not -1"),
    ]:
        with pytest.raises(Refused, match=sentence):
            on_ray(tmp_path / "s", 2, cluster.address, resources=resources)


@ray_test
def test_more_workers_than_room_end_too(tmp_path, cluster):
    rows = on_ray(tmp_path / "ray.log", 6, cluster.address, resources={"far": 1})
    assert told(rows) == told(alone(tmp_path / "one.log", 6))


@ray_test
def test_a_node_killed_on_the_way_changes_nothing(tmp_path, cluster):
    doomed, log = cluster.add_node(**NODE), tmp_path / "log"
    hand, evaluators = killed_when(doomed, lambda found: log.exists() and len(log.read_text().splitlines()) >= 8)
    settings = {"seconds": 0.2, "log": str(log)}  # of two CPUs each: a trial on every node at all times
    rows = on_ray(tmp_path / "ray.log", 24, cluster.address, 3, settings, resources={"cpu": 2})
    hand.join()
    assert len(evaluators) == 1
    assert len(log.read_text().splitlines()) == 25  # one trial was lost, and evaluated twice
    assert told(rows) == told(alone(tmp_path / "one.log", 24))
    assert not psutil.wait_procs(evaluators, timeout=10)[1]


@ray_test
def test_trials_that_are_always_lost_fail_in_the_end(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("winnow.trials.ray_executor.LIVES", 2)
    rows = on_ray(tmp_path / "s", 1, cluster.address, factory="tests.trials.scores:make_suicidal")
    assert [(r.state, r.error) for r in rows] == [
        ("failed", "its process or node was lost 2 times; the machines may lack memory")
    ]


@ray_test
def test_reports_reach_the_stopper(tmp_path, cluster):
    from winnow.trials.ray_executor import Ray

    plan = Plan(ONE, sampler="random", stopper="median", stopper_options={"n_startup_trials": 4}, look_back=4)
    executor = Ray("tests.trials.scores:make_learning", {}, 4, address=cluster.address)
    rows = run(plan, toys.search(), executor, where=str(tmp_path / "ray.log"), name="toy", n_trials=20)
    inline = Inline(scores.learning)
    assert told(rows) == told(run(plan, toys.search(), inline, where=str(tmp_path / "one"), name="toy", n_trials=20))
    assert {r.state for r in rows} == {"complete", "pruned"}


@ray_test
def test_what_no_trial_can_do_ends_the_study_with_a_sentence(tmp_path, cluster):
    with pytest.raises(Refused, match="could not be made: ZeroDivisionError"):
        on_ray(tmp_path / "s", 2, cluster.address, factory="tests.trials.scores:make_broken")


def _local(where, log):
    on_ray(where, 16, None, workers=2, settings={"seconds": 0.1, "log": str(log)})


@ray_test
def test_a_killed_driver_with_a_ray_of_its_own_leaves_nothing_running_and_resumes(tmp_path):
    """And all that it listens on is 127.0.0.1."""
    spawn, log = multiprocessing.get_context("spawn"), tmp_path / "log"
    driver = spawn.Process(target=_local, args=(tmp_path / "ray.log", log))
    driver.start()
    while not (log.exists() and len(log.read_text().splitlines()) >= 5):
        time.sleep(0.05)
        assert driver.is_alive()
    family = psutil.Process(driver.pid).children(recursive=True)
    heard = [c.laddr.ip for p in family for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert heard
    assert {ip.removeprefix("::ffff:") for ip in heard} == {"127.0.0.1"}
    agents = [p for p in family if "Agent" in "".join(p.cmdline())]  # Ray's own, which take a minute to notice
    driver.kill()
    driver.join()
    psutil.wait_procs([p for p in family if p not in agents], timeout=20)
    assert not [p for p in family if p not in agents and p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    for agent in agents:
        agent.kill()

    again = spawn.Process(target=_local, args=(tmp_path / "ray.log", log))
    again.start()
    again.join()
    assert again.exitcode == 0
    assert len(log.read_text().splitlines()) <= 16 + 2
    rows = run(PLAN, toys.search(8), Inline(None), where=str(tmp_path / "ray.log"), name="toy", n_trials=16)
    assert told(rows) == told(alone(tmp_path / "one.log", 16))


def test_without_ray_there_is_a_sentence(monkeypatch):
    from winnow.trials.ray_executor import Ray

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Refused, match=r"Ray, which is not here: pip install 'winnow\[ray\]'"):
        Ray("x:y", {}, 1)


@pytest.mark.skipif(ABSENT, reason="no Ray: pip install 'winnow[ray]'")
def test_a_cluster_out_of_reach_is_a_sentence():
    from winnow.trials.ray_executor import Ray

    with pytest.raises(Refused, match=r"no Ray cluster at 127\.0\.0\.1:1 \(Connection refused\): ray start --head"):
        Ray("x:y", {}, 1, address="127.0.0.1:1")
    with pytest.raises(Refused, match=r"is auto or like 10\.0\.0\.1:6379, not 'here'"):
        Ray("x:y", {}, 1, address="here")
