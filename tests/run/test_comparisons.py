"""stage.comparisons: what the cells of a study say together."""

import random
import statistics

import pytest

from winnow.look.standings import groups, standings
from winnow.run.comparisons import baseline_of, critical_difference, gains, power, ranks, summary, verdict


def row(method: str, selection: str, seed: int, score: float | None, **more) -> dict:
    plain = {"space": "nb", "unit": "points", "parameter_free": 0.5, "collapse": "", "params": 1000, "seconds": 1.0}
    return {
        **plain,
        "digest": f"{score}",
        "method": method,
        "selection": selection,
        "seed": seed,
        "score": score,
    } | more


ROWS = [
    row("darts", "magnitude", 0, 40.0, collapse="6 of the 6"), row("darts", "perturbation", 0, 88.0),
    row("darts", "magnitude", 1, 42.0, collapse="6 of the 6"), row("darts", "perturbation", 1, 86.0),
    row("blank", "perturbation", 0, 90.0), row("blank", "perturbation", 1, 90.0),
]  # fmt: skip
BASE = ("darts", "magnitude")


def scores(method: str, selection: str, values, **more) -> list[dict]:
    return [row(method, selection, seed, value, **more) for seed, value in enumerate(values)]


def test_means_over_seeds_best_first():
    table = summary(ROWS)
    assert [(r["method"], r["selection"], r["mean"], r["n"], r["collapsed"]) for r in table] == [
        ("blank", "perturbation", 90.0, 2, 0),
        ("darts", "perturbation", 87.0, 2, 0),
        ("darts", "magnitude", 41.0, 2, 2),
    ]  # fmt: skip
    assert table[1]["sd"] == pytest.approx(2**0.5)
    assert summary(ROWS[:1])[0]["sd"] is None


def test_a_failed_cell_counts_as_one_and_for_nothing_else():
    rows = [*ROWS, row("blank", "perturbation", 2, None, parameter_free=None, params=None)]
    blank = summary(rows)[0]
    assert (blank["mean"], blank["n"], blank["failed"]) == (90.0, 2, 1)
    assert "1 of 7 cells failed" in verdict(rows, BASE)
    alone = [row("blank", "perturbation", 0, None, parameter_free=None, params=None)]
    assert verdict([*ROWS[:4], *alone], BASE).endswith("1 of 5 cells failed; their combinations have fewer seeds.")
    assert "no cell was finished" in verdict(alone, ("blank", "perturbation"))


def test_ranks_over_complete_blocks_and_the_critical_difference():
    mean, blocks, difference = ranks(ROWS)
    assert mean == {"darts, magnitude": 3.0, "darts, perturbation": 2.0, "blank, perturbation": 1.0}
    assert blocks == 2
    assert difference == pytest.approx(2.343 * (3 * 4 / 6 / 2) ** 0.5, abs=2e-3)  # q of Demšar 2006, table 5
    assert ranks(ROWS[:4] + ROWS[5:])[1] == 1
    tied = ranks([row("a", "m", 0, 1.0), row("b", "m", 0, 1.0)])[0]
    assert tied == {"a, m": 1.5, "b, m": 1.5}


def test_scores_of_two_spaces_are_never_added():
    """Benchmark points and inherited points have no mean, and no difference."""
    rows = [
        *scores("darts", "magnitude", (80, 81, 82)),
        *scores("darts", "perturbation", (83, 84, 86)),
        *scores("darts", "magnitude", (10, 20, 30), space="own", unit="inherited"),
        *scores("darts", "perturbation", (11, 19, 29), space="own", unit="inherited"),
    ]
    found = {gain.space: gain for gain in gains(rows, BASE)}
    assert [(g.mean, g.n) for g in found.values()] == [(pytest.approx(10 / 3), 3), (pytest.approx(-1 / 3), 3)]
    told = verdict(rows, BASE)
    assert "nb: the best is darts with perturbation: 84.33 ± 1.53 (points, n = 3)" in told
    assert "own: the best is darts with magnitude: 20.00 ± 10.00 (inherited, n = 3)" in told


def test_pairs_are_of_one_seed_and_two_methods_do_not_double_them():
    rows = [
        *scores("darts", "magnitude", (80, 81, 82)), *scores("darts", "perturbation", (83, 84, 86)),
        *scores("sdarts", "magnitude", (70, 71, 72)), *scores("sdarts", "perturbation", (73, 74, 76)),
    ]  # fmt: skip
    found = {((g.method, g.selection), g.over): g for g in gains(rows, BASE)}
    assert found[("sdarts", "perturbation"), ("sdarts", "magnitude")].n == 3  # on its own supernets
    assert found[("sdarts", "perturbation"), BASE].mean == pytest.approx(-20 / 3)
    assert len(found) == 4
    assert all(gain.n == 3 for gain in found.values())


def test_no_interval_and_no_outcome_below_three_seeds():
    (gain,) = gains(ROWS[:4], BASE)
    assert (gain.mean, gain.n, gain.low, gain.high, gain.outcome) == (46.0, 2, None, None, "cannot tell")


def test_equal_differences_are_no_certainty():
    """The same two architectures in every seed: three pairs of one sign happen in one case of four by chance."""
    for n, outcome in ((3, "cannot tell"), (5, "cannot tell"), (6, "yes")):
        rows = [*scores("a", "m", [10.0] * n), *scores("b", "m", [12.0] * n)]
        assert gains(rows, ("a", "m"))[0].outcome == outcome


@pytest.mark.parametrize("n", [3, 5])
def test_a_baseline_is_seldom_beaten_by_its_equals(n):
    """Five combinations that are the same as the baseline: at most one study in twenty says yes or no of any."""
    draws, wrong, studies = random.Random(0), 0, 600
    for _ in range(studies):
        rows = [r for m in "abcdef" for r in scores(m, "s", [100 - draws.expovariate(0.2) for _ in range(n)])]
        wrong += any(gain.outcome != "cannot tell" for gain in gains(rows, ("a", "s")))
    assert wrong / studies < 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


def test_what_would_have_been_seen_is_seen_in_four_cases_of_five():
    draws, seen, tries = random.Random(1), 0, 400
    differences = [draws.gauss(0, 1) for _ in range(5)]
    rows = [*scores("a", "m", [0.0] * 5), *scores("b", "m", differences)]
    gap = gains(rows, ("a", "m"))[0].detectable / statistics.stdev(differences)  # in standard deviations
    for _ in range(tries):
        rows = [*scores("a", "m", [0.0] * 5), *scores("b", "m", [draws.gauss(gap, 1) for _ in range(5)])]
        seen += gains(rows, ("a", "m"))[0].outcome == "yes"
    assert 0.72 < seen / tries < 0.9


def test_ties_are_named():
    rows = [
        row("darts", "m", 0, 89.35, digest="x"), row("sharp", "m", 0, 89.35, digest="x"), row("blank", "m", 0, 80.0)
    ]  # fmt: skip
    told = verdict(rows, ("darts", "m"))
    assert "nb: equal at the top (the same architectures) are darts with m and sharp with m: 89.35" in told


def test_the_baseline_is_the_first_unless_chosen():
    assert baseline_of(ROWS, None) == BASE
    assert baseline_of(ROWS, "blank, perturbation") == ("blank", "perturbation")


def test_power_is_said_before():
    """Nemenyi's differences (Demšar 2006) of six combinations over 3 and over 6 blocks."""
    assert critical_difference(6, 3) == pytest.approx(4.35, abs=0.01)
    assert critical_difference(6, 6) == pytest.approx(3.08, abs=0.01)
    assert "decide nothing" in power(2, 6, 1)[0]
    told = power(3, 6, 1)
    assert "3 seeds see a gain of 3.1 standard deviations" in told[0]
    assert "must differ by 4.35 of at most 5" in told[1]


def test_the_verdict_names_the_best():
    text = verdict(ROWS, BASE)
    assert text.startswith("nb: the best is blank with perturbation: 90.00 ± 0.00 (points, n = 2).")
    assert "darts with perturbation over darts with magnitude: +46.00 (n = 2): cannot tell" in text
    assert "cannot tell" in verdict(ROWS[:2], BASE)


def test_neighbours_within_the_critical_difference_are_joined():
    assert groups({"a": 1.0, "b": 1.5, "c": 2.6, "d": 4.0}, 1.2) == [("a", "b"), ("b", "c")]
    assert groups({"a": 1.0, "b": 3.0}, 1.2) == []


def test_the_picture_has_a_panel_a_space():
    own = scores("darts", "magnitude", (10, 20), space="own", unit="inherited")
    for rows, panels in ((ROWS, 1), (ROWS[:1], 1), ([*ROWS, *own], 2)):
        figure = standings(rows, *ranks(rows))
        assert len(figure.axes) == panels + 1
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert "darts, magnitude" in labels
        assert figure.axes[0].get_xlabel().startswith("nb: points")
