import itertools
import json

import pytest

from tests.trials import scores, toys
from winnow.core.errors import Refused
from winnow.trials.engine import run
from winnow.trials.executors import Inline
from winnow.trials.front import best, front
from winnow.trials.plan import Plan
from winnow.trials.table import SCHEMA, as_rows, as_table, read_table, write_table

TWO = {"accuracy": "maximize", "cost": "minimize"}


@pytest.fixture
def study(tmp_path):
    def made(plan, evaluate=scores.score, n=40):
        return run(plan, toys.search(), Inline(evaluate), where=str(tmp_path / "s"), name="toy", n_trials=n)

    return made


def test_the_front_is_what_nothing_feasible_dominates(study):
    plan = Plan(TWO, {"cost": {"max": 9}}, "random")
    rows = study(plan)
    found = {r.number for r in front(plan, rows)}
    feasible = [r for r in rows if r.metrics["cost"] <= 9]
    assert 0 < len(found) < len(feasible) < len(rows)
    beaten = {
        b.number
        for a, b in itertools.permutations(feasible, 2)
        if a.metrics["accuracy"] >= b.metrics["accuracy"]
        and a.metrics["cost"] <= b.metrics["cost"]
        and (a.metrics != b.metrics or a.number < b.number)
    }
    assert found == {r.number for r in feasible} - beaten
    assert best(plan, rows).metrics["accuracy"] == max(r.metrics["accuracy"] for r in feasible)


def test_a_study_that_nothing_meets_ends_with_a_sentence(study):
    plan = Plan(TWO, {"cost": {"max": 3}}, "random")
    rows = study(plan, n=10)
    least = min(r.metrics["cost"] for r in rows)
    with pytest.raises(Refused, match=rf"none of 10 trials meets .* cost is {least:g} where the max is 3"):
        front(plan, rows)


def test_a_study_in_which_all_fails_says_how(study):
    plan = Plan(TWO, {}, "random")
    with pytest.raises(Refused, match="none of 5 trials completed; the first error: MemoryError: CUDA"):
        best(plan, study(plan, scores.make(fail=list(range(5))), n=5))


def test_a_table_read_back_is_the_table(study, tmp_path):
    plan = Plan(TWO, {"cost": {"max": 9}}, "random", fidelity={"epochs": 12})
    rows = study(plan, scores.make(fail=[3]))
    write_table(tmp_path / "t.parquet", as_table(rows))
    table = read_table(tmp_path / "t.parquet")
    assert table.schema.equals(SCHEMA)
    assert as_rows(table) == rows
    assert json.loads(rows[0].architecture) == json.loads(rows[0].parameters)
    assert [p.name for p in tmp_path.iterdir() if "parquet" in p.name] == ["t.parquet"]


def test_a_table_that_the_disk_has_no_room_for_leaves_the_one_before(study, tmp_path, monkeypatch):
    rows = study(Plan(TWO, {}, "random"), n=5)
    write_table(tmp_path / "t.parquet", as_table(rows[:2]))

    def full(table, path, **how):
        with open(path, "wb") as file:
            file.write(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("winnow.trials.table.pq.write_table", full)
    with pytest.raises(Refused, match=r"t\.parquet cannot be written: No space left on device"):
        write_table(tmp_path / "t.parquet", as_table(rows))
    assert as_rows(read_table(tmp_path / "t.parquet")) == rows[:2]
    assert [p.name for p in tmp_path.iterdir() if "parquet" in p.name] == ["t.parquet"]


def test_what_is_no_trials_table_is_refused(tmp_path, nasbench201):
    with pytest.raises(Refused, match="no trials table"):
        read_table(tmp_path / "t.parquet")
    (tmp_path / "t.parquet").write_text("number,state\n")
    with pytest.raises(Refused, match="is no whole Parquet file"):
        read_table(tmp_path / "t.parquet")
    with pytest.raises(Refused, match=r"is no trials table of format winnow\.trials/1"):
        read_table(nasbench201)
