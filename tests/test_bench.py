"""benchmarks/suites.py and walks.py: the tables that they write, by hand."""

from pathlib import Path

import pytest

from benchmarks import suites, walks

ROWS = [
    {"name": "a", "ratio": 2.0, "ratio_low": 1.5, "ratio_high": 3.0, "n": 4},
    {"name": "b", "ratio": 1.02, "ratios": [1, 1.04]},
]
FOUND = {"search": {"load_before": 0.1, "cores": 2, "rows": ROWS}}


def test_ratios_beside_those_of_the_last_release():
    head, _, one, two = suites.table(FOUND, "v1", {"search": {"a": 1.75}}).splitlines()
    assert head.endswith("| others on the machine | v1 |")
    assert one.endswith("| a | 2.00 (1.50 to 3.00), n = 4 | none | 1.75 |")
    assert two.endswith("| b | 1.02 (1.00 to 1.04), n = 2 | none | – |")


def test_without_a_release_there_is_no_column_and_a_busy_machine_is_told():
    busy = {"search": {**FOUND["search"], "load_before": 12.34}}
    assert suites.table(busy, "", {}).splitlines()[2].endswith("| yes, 12.3 threads on 2 cores |")


def test_the_page_keeps_all_but_the_table():
    page = f"before\n{suites.BEGIN}\nold\n{suites.END}\nafter\n"
    assert suites.put("new", page) == page.replace("old", "new")
    with pytest.raises(SystemExit, match="has no place for the table"):
        suites.put("new", "before\nafter\n")


def test_every_suite_is_a_script_and_the_page_has_a_place():
    for suite in suites.SUITES.values():
        assert (suites.ROOT / "benchmarks" / suite.command.split()[0]).is_file()
    assert suites.BEGIN in Path(suites.PAGE).read_text()


def test_what_suites_write_is_read():
    assert suites.rows_of(ROWS) == suites.rows_of({"rows": ROWS, "calls_us": {}}) == ROWS


def test_the_table_of_recipes_tells_how_a_run_ended_and_what_stood_beside_it():
    row = {
        "recipe": "detection",
        "metric": "ap",
        "found": "35.12 ± 0.90",
        "n": 3,
        "outcome": "no",
        "pairs_won": 9.5,
        "pairs": 19,
        "p_value": 0.55,
        "against": [{"name": "my_net:build", "outcome": "cannot tell"}],
        "processor_seconds": 600,
        "seconds": 300,
        "load_before": 2.0,
        "machine": "a processor",
    }
    line = walks.table([row]).splitlines()[2]
    found, random, by_hand = "ap 35.12 ± 0.90 (n = 3)", "no: wins 9.5 of 19, p = 0.550", "cannot tell (`my_net:build`)"
    assert line == f"| detection | {found} | {random} | {by_hand} | 10.0 | 5.0, beside others |"


def test_the_page_of_recipes_has_a_place_for_the_table():
    assert walks.put("new", walks.PAGE.read_text(), walks.BEGIN, walks.END)
