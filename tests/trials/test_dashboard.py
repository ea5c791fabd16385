"""optuna-dashboard shows a study as it lies, finished or growing."""

import io
import json
from wsgiref.util import setup_testing_defaults

import pytest

from tests.trials import scores, toys
from tests.trials.test_engine import TWO
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.plan import Plan

PLAN = Plan(TWO, {"cost": {"max": 9}}, "nsga2", {"population_size": 4}, look_back=2)


def get(where, path):
    """What the dashboard's HTTP interface answers, opened as its command opens `where`."""
    dashboard = pytest.importorskip("optuna_dashboard", reason="no dashboard: pip install 'winnow[dashboard]'")
    from optuna_dashboard._storage_url import get_storage

    environ, status = {"PATH_INFO": path, "QUERY_STRING": "after=0", "wsgi.errors": io.StringIO()}, []
    setup_testing_defaults(environ)
    storage = get_storage(str(where))
    body = b"".join(dashboard.wsgi(storage)(environ, lambda line, *_: status.append(line)))
    if hasattr(storage, "engine"):
        storage.engine.dispose()
    assert status == ["200 OK"], environ["wsgi.errors"].getvalue()
    return json.loads(body)


def check(where):
    shown = []

    def show(row):
        if row.number == 4:
            shown.append(get(where, f"/api/studies/{studies[0]['study_id']}")["trials"])

    run(PLAN, toys.search(), Inline(scores.score), where=str(where), name="shown", n_trials=1)
    studies = [s for s in get(where, "/api/studies")["study_summaries"] if s["study_name"] == "shown"]
    assert [s["directions"] for s in studies] == [["maximize", "minimize"]]
    evaluate = Inline(scores.make(fail=[3]))
    rows = run(PLAN, toys.search(), evaluate, where=str(where), name="shown", n_trials=12, on_trial=show)
    states = ["Complete", "Complete", "Complete", "Fail", "Complete"]
    assert [t["state"] for t in shown[0]][:5] == states  # while it grew
    detail = get(where, f"/api/studies/{studies[0]['study_id']}")
    assert detail["objective_names"] == ["accuracy", "cost"]
    assert [t["number"] for t in detail["trials"]] == [r.number for r in rows]
    values = [t["values"] for t in detail["trials"] if "values" in t]
    assert values == [list(r.objectives.values()) for r in rows if r.state == "complete"]


def test_the_dashboard_opens_a_journal(tmp_path):
    check(tmp_path / "study.log")
