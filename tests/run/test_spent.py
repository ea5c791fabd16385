"""What runs took, by their records; nothing is told where nothing was kept or counted."""

import json

import pytest

from tests.stages.tiny import tiny
from winnow.cli.main import _took
from winnow.core.errors import Refused
from winnow.run.lineage import RUNS
from winnow.run.report import _cost
from winnow.run.spent import COUNTED, spent


@pytest.fixture
def records(tmp_path):
    (tmp_path / RUNS).mkdir(parents=True)

    def write(**runs):
        for name, content in runs.items():
            (tmp_path / RUNS / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write


def test_seconds_and_joules_of_all_counters_together(records):
    joules = {"package-0": 1000.0, "package-1": 234.0}
    folder = records(search={"seconds": 200.0, "joules": joules}, select={"seconds": 5.2, "joules": {}}, tune={})
    took = spent(folder, ["prepare", "search", "select", "tune"])
    assert {name: str(each) for name, each in took.items()} == {"search": "3 min, 1.23 kJ", "select": "5 s"}


def test_a_damaged_record_is_refused(records):
    with pytest.raises(Refused, match=r"search.json is damaged: run `winnow search` again"):
        spent(records(search={"seconds": 2.0, "joules": 5}), ["search"])


def test_plan_and_report_tell_energy_where_it_was_counted(records, capsys):
    folder = records(search={"seconds": 200.0, "joules": {}}, evaluate={"seconds": 7.0, "joules": {}})
    _took(folder, tiny())
    assert capsys.readouterr().out == "the results that lie here took:\n  search    3 min\n  evaluate  7 s\n"
    assert "<th>energy</th>" not in _cost(folder, tiny())
    assert "No counter of energy could be read where they ran." in _cost(folder, tiny())
    records(search={"seconds": 200.0, "joules": {"gpu": 1500.0}}, select={"seconds": 5.0, "joules": {}})
    _took(folder, tiny())
    assert f"  search    3 min, 1.5 kJ\n  select    5 s\n  evaluate  7 s\n  {COUNTED}\n" in capsys.readouterr().out
    shown = _cost(folder, tiny())
    assert "<td>search</td><td>3 min</td><td>1.5 kJ</td>" in shown
    assert "<td>select</td><td>5 s</td><td>–</td>" in shown  # not nought
    assert COUNTED in shown


def test_before_there_are_results_nothing_is_told(tmp_path, capsys):
    _took(tmp_path, tiny())
    assert capsys.readouterr().out == ""
    assert "The stages kept no time." in _cost(tmp_path, tiny())
