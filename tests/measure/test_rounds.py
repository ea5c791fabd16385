"""Rounds of a measurement, summed up by hand."""

import pytest

from winnow.measure.rounds import ROUNDS, of_medians, summary


def test_an_interval_of_nine_rounds_leaves_out_the_fastest_and_the_slowest():
    rounds = [[float(i), float(i), i + 10.0] for i in range(ROUNDS)]
    assert of_medians(rounds[::-1]) == (4.0, 1.0, 7.0)


def test_of_rounds_that_were_cut_short_the_fastest_call_is_the_lower_end():
    assert of_medians([[3.0, 1.0, 5.0], [4.0, 4.0, 0.5]]) == (3.5, 0.5, 3.0)
    assert of_medians([[2.0]]) == (2.0, 2.0, 2.0)


def test_a_summary_ends_at_the_slowest_round_or_the_slowest_tenth_of_calls():
    assert summary([[1.0, 1.0], [3.0, 3.0], [2.0, 2.0]]) == (2.0, 1.0, 3.0)
    assert summary([[1.0] * 10, [1.0] * 7 + [9.0] * 3]) == (pytest.approx(1.0), 1.0, 9.0)
