"""benchmarks/suites.py, walks.py and signals.py: the tables that they write, by hand."""

from pathlib import Path

import pytest

from benchmarks import signals, suites, walks

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


def test_a_signal_is_told_by_how_it_orders_and_what_has_no_value_comes_last():
    """Four networks, each better than the one before by 64 and worse by 32."""
    short = {name: float(i) for i, name in enumerate(signals.SHORT)}
    rows = [{"by 64": [10.0 * i, 10.0 * i], "by 32": [-i, 2.0 - i], **short} for i in range(4)]
    rows = [{**row, "15 epochs by 64": i} for i, row in enumerate(rows)]
    table = signals.table({"rows": rows, "signals": {"params": [None, 5.0, 6.0, 7.0]}, "machine": "a processor"})
    cells = {line.split(" | ")[0]: line.split(" | ")[1:] for line in table.splitlines() if line.startswith("| ")}
    assert [each.split()[0] for each in cells["| trained alone, 15 epochs by 64"]] == ["1.00", "-1.00"]
    assert [each.split()[0] for each in cells["| params"]] == ["1.00", "-1.00"]
    assert (
        "By 64: mean 15.0 %, quartile 7.5, median 15.0, best 30.0; two trainings of one network differ by 0.0" in table
    )
    assert "differ by 1.4 (sd), 4 networks" in table
