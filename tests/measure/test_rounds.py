"""Rounds of a measurement, summed up by hand."""

from pathlib import Path

import pytest

from winnow.measure.rounds import ROUNDS, of_medians, one_round, others_running, summary


def test_an_interval_of_nine_rounds_leaves_out_the_fastest_and_the_slowest():
    rounds = [[float(i), float(i), i + 10.0] for i in range(ROUNDS)]
    assert of_medians(rounds[::-1]) == (4.0, 1.0, 7.0)


def test_of_rounds_that_were_cut_short_the_fastest_call_is_the_lower_end():
    assert of_medians([[3.0, 1.0, 5.0], [4.0, 4.0, 0.5]]) == (3.5, 0.5, 3.0)
    assert of_medians([[2.0]]) == (2.0, 2.0, 2.0)


def test_a_summary_ends_at_the_slowest_round_or_the_slowest_tenth_of_calls():
    assert summary([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]) == (2.0, 1.0, 3.0)
    assert summary([[1.0] * 10, [1.0] * 7 + [9.0] * 3]) == (pytest.approx(1.0), 1.0, 9.0)
    assert summary([[1.0] * 8 + [9.0]]) == (1.0, 1.0, 9.0)  # of nine calls the slowest tenth is one
    assert summary([[1.0] * 9 + [9.0]]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("text", "threads"),
    [("0.10 0.20 0.30 3/412 9999\n", 2.0), ("0.10 0.20 0.30 0/1 9\n", 0.0), ("", None), ("1 2", None)],
)
def test_threads_of_others_are_those_that_run_less_the_one_that_asks(monkeypatch, text, threads):
    monkeypatch.setattr(Path, "read_text", lambda path, **_: {"/proc/loadavg": text}[str(path)])
    assert others_running() == threads


def test_a_round_calls_until_it_has_enough_or_its_time_is_over():
    assert one_round(iter(range(9)).__next__, 3, 60.0) == [0, 1, 2]
    assert one_round(iter(range(9)).__next__, 3, 0.0) == [0]
