"""Studies in a real PostgreSQL server: the trials of a journal, whoever is killed; one sentence where it fails."""

import importlib.util
import logging
import multiprocessing
import tempfile
import time
from pathlib import Path

import optuna
import pytest

from tests.trials import scores, toys
from tests.trials.servers import PASSWORD, PostgreSQL, binaries, free_port
from tests.trials.test_dashboard import check
from tests.trials.test_engine import ONE, TWO, told
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan
from winnow.trials.processes import Processes

PLAN = Plan(TWO, {"cost": {"max": 18}}, "nsga2", {"population_size": 6}, look_back=3)
FORK = multiprocessing.get_context("fork")
needs_driver = pytest.mark.skipif(
    importlib.util.find_spec("psycopg") is None, reason="no PostgreSQL driver: pip install 'winnow[postgresql]'"
)


@pytest.fixture(scope="module")
def server():
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL server: apt install postgresql")
    with tempfile.TemporaryDirectory(prefix="winnow-pg-", ignore_cleanup_errors=True) as folder:
        made = PostgreSQL(Path(folder), found)
        yield made
        made.stop()


def study(where, name, n=24, executor=None, plan=PLAN):
    return run(plan, toys.search(8), executor or Inline(scores.score), where=str(where), name=name, n_trials=n)


def _driver(where, name, log):
    study(where, name, executor=Processes("tests.trials.scores:make", {"seconds": 0.12, "log": str(log)}, 3))


def begin(where, name, log, until=5):
    """A driver in a process of its own that has evaluated some trials."""
    driver = FORK.Process(target=_driver, args=(where, name, log))
    driver.start()
    while not (log.exists() and len(log.read_text().splitlines()) >= until):
        time.sleep(0.02)
        assert driver.is_alive()
    return driver


@needs_driver
def test_a_killed_driver_goes_on_and_two_at_a_time_are_refused(server, tmp_path):
    url, log = server.url(), tmp_path / "log"
    driver = begin(url, "killed", log)
    holder = rf"study 'killed' at .*127\.0\.0\.1.* is driven by winnow, process {driver.pid} on .*: wait for it or end"
    with pytest.raises(Refused, match=holder) as refusal:
        study(url, "killed")
    assert PASSWORD not in str(refusal.value)
    assert len(study(url, "other", 2)) == 2  # another study of the same server
    driver.kill()
    driver.join()
    driver = begin(url, "killed", log, until=12)
    driver.join()
    assert driver.exitcode == 0
    assert told(study(url, "killed")) == told(study(tmp_path / "one.log", "killed"))
    assert len(log.read_text().splitlines()) <= 24 + 3
    storage = optuna.storages.RDBStorage(url)
    kept = optuna.load_study(study_name="killed", storage=storage)
    assert [t.state.name for t in kept.trials] == ["COMPLETE"] * 24
    storage.engine.dispose()


@needs_driver
def test_another_plan_is_refused(server):
    study(server.url(), "plan", 2)
    with pytest.raises(Refused, match=r"was begun with objectives .*to start anew, give the study another name"):
        study(server.url(), "plan", 4, plan=Plan(ONE, sampler="random"))


@needs_driver
def test_a_server_that_goes_away_is_a_sentence_and_no_loss(server, tmp_path, caplog):
    gone = []

    def evaluate(job):
        if job.number == 5 and not gone:
            server.stop()
            gone.append(True)
        return scores.score(job)

    with caplog.at_level(logging.DEBUG), pytest.raises(Refused) as refusal:
        study(server.url(), "gone", 12, Inline(evaluate))
    server.start()
    assert str(refusal.value).startswith(f"postgresql+psycopg://127.0.0.1:{server.port}/postgres was lost (")
    assert str(refusal.value).endswith("): once it is back, the same command goes on")
    assert "\n" not in str(refusal.value)
    assert PASSWORD not in str(refusal.value) + caplog.text
    assert told(study(server.url(), "gone", 12)) == told(study(tmp_path / "one.log", "gone", 12))


@needs_driver
@pytest.mark.parametrize("query", ["", "?password=hunter3"])
def test_a_server_out_of_reach_is_a_sentence_without_the_password(query, caplog, capfd):
    optuna.logging.enable_propagation()
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused) as refusal:
        study(f"postgresql://user:hunter2@127.0.0.1:{free_port()}/db{query}", "x")
    assert str(refusal.value).startswith("postgresql://127.0.0.1:")
    assert "cannot be reached: " in str(refusal.value)
    assert "Connection refused" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "hunter" not in str(refusal.value) + caplog.text + "".join(capfd.readouterr())


@needs_driver
def test_a_wrong_password_is_a_sentence_that_does_not_tell_it(server, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(Refused, match="password authentication failed") as refusal:
        study(server.url("hunter4"), "x")
    assert "hunter" not in str(refusal.value) + caplog.text


def test_without_the_driver_there_is_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(
        Refused, match=r"^postgresql\+psycopg://h/d needs a driver .*pip install 'winnow\[postgresql\]'"
    ):
        study("postgresql+psycopg://u:p@h/d", "x")


def test_what_is_no_url_of_a_database_is_a_sentence():
    with pytest.raises(Refused, match=r"^mysql://h/d: trials go to a journal file, SQLite or PostgreSQL, not mysql$"):
        study("mysql://u:p@h/d", "x")
    with pytest.raises(Refused, match=r"^trials.storage is postgresql://…, which is no address"):
        study("postgresql://user:secret@host:port/db", "x")


@needs_driver
def test_the_dashboard_opens_it(server):
    check(server.url())
