"""benchmarks/first_run.py: rows that are there are not run again, and what the table says of them, by hand."""

import json
import sys

import pytest

from benchmarks import first_run

ROW = {
    "outcome": "yes", "score": 70.0, "control": 60.0, "p": 0.01, "finds": [70.0, 71.0, 69.0], "params": 100,
    "controls": [50.0, 60.0, 61.0, 62.0, 67.0, 60.0], "control_params": [80, 120, 126, 60, 40, 900],
    "random_search": 66.0, "seconds": 10,
}  # fmt: skip


def row(number, **changes):
    return {**ROW, "seed": number, "searches": [3 * number + i for i in range(3)], **changes}


def call(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["first_run.py", *map(str, words)])
    first_run.main()


def test_runs_that_are_there_are_not_run_again(tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(first_run, "run", lambda content, number, threads: ran.append(number) or row(number))
    out = tmp_path / "rows.json"
    call(monkeypatch, "--seeds", 2, "--out", out)
    call(monkeypatch, "--seeds", 4, "--out", out)
    assert ran == [0, 1, 2, 3]
    assert [each["seed"] for each in json.loads(out.read_text())["rows"]] == ran
    assert "yes 4, no 0, cannot tell 0 of 4 runs." in capsys.readouterr().out
    with pytest.raises(SystemExit):  # other settings are other runs
        call(monkeypatch, "--seeds", 4, "--out", out, "--set", "search.epochs=7")
    call(monkeypatch, "--out", out, "--table")
    assert ran == [0, 1, 2, 3]


def test_a_find_is_compared_with_random_networks_of_its_size():
    assert first_run.size_matched(row(0)) == 70.0 - 55.0  # 80 and 120 of 100 parameters are within a quarter
    assert first_run.size_matched(row(0, params=10_000)) is None


def test_random_networks_in_the_place_of_the_found_are_judged_by_the_same_rule():
    """Three against the six of the run before: a yes takes all 18 pairs but two."""
    low, high = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 1.5, 2.5, 3.5]
    rows = [row(0, controls=low), row(1, controls=high)]
    assert first_run.false_yes(rows).count("yes") == 1  # 7, 8, 9 against all that is lower
    assert len(first_run.false_yes(rows)) == 4
    assert first_run.false_yes(rows[:1]) == []


def test_random_searches_are_judged_as_many_at_a_time_as_a_run_searches():
    rows = [row(number, random_search=score) for number, score in enumerate((90.0, 91.0, 92.0, 1.0))]
    assert first_run._rival(rows) == ["yes", "cannot tell", "cannot tell", "cannot tell"]
    assert first_run._rival(rows[:2]) == []


def test_a_run_goes_through_all_stages(monkeypatch, tmp_path):
    """With the settings of the shipped file made small: what is written into a row is what evaluate.json says."""
    from tests.stages.tiny import tiny

    small = tiny(
        data__source="omniglot", data__limit_train=468, search__strategy="spos", select__methods=["evolution"],
        search__epochs=1, evaluate__searches=2, evaluate__controls=1, evaluate__random_search=1, tune__trials=0,
    )  # fmt: skip
    found = first_run.run(small.model_dump(by_alias=True), 1, 1)
    assert found["searches"] == [102, 103]
    assert len(found["controls"]) == len(found["control_params"]) == 1
    assert found["outcome"] in ("yes", "no", "cannot tell")
    assert 0 <= found["random_search"] <= 100
    assert found["score"] == pytest.approx(sum(found["finds"]) / len(found["finds"]))
