"""Beside a baseline: numbers reckoned by hand, and the sentence that they make."""

import math

import numpy as np
import pytest
from scipy.stats import t

from winnow.measure.judgement import CANNOT_TELL, NO, YES
from winnow.run.beside import Pair, no_worse, over_seeds, usual_margin
from winnow.run.headline import headline
from winnow.run.tradeoff import cost_of, points
from winnow.run.verdict import verdicts
from winnow.tasks import task_named
from winnow.tasks.task import PERCENT, Metric

SHARES = {"MACs": 0.46, "params": 0.5}


def told(found, other, name="original", margin=None, metric=PERCENT, answers=None, same=False):
    return no_worse(name, Pair(found, other, answers, metric), SHARES, margin, same)


def test_the_interval_is_welchs_over_seeds():
    row = told([97.0, 98.0, 99.0], [98.0, 98.5, 99.0])
    a, b = 1 / 3, 0.25 / 3  # variances of the means
    half = t.ppf(0.975, (a + b) ** 2 / (a**2 / 2 + b**2 / 2)) * math.sqrt(a + b)
    assert row["difference"] == pytest.approx(-0.5)
    assert (row["difference_ci_low"], row["difference_ci_high"]) == pytest.approx((-0.5 - half, -0.5 + half))
    assert row["loss_at_most"] == pytest.approx(0.5 + half)
    assert row["margin"] == 1.0
    assert row["outcome"] == CANNOT_TELL
    assert f"no worse than {0.5 + half:.2f} points by 95 % (n = 3 and 3)" in row["verdict"]


def test_test_rows_widen_it():
    rows = (np.array([[1, 0, 1, 1]] * 3), np.array([[1, 1, 1, 0]] * 3))
    row = told([75.0] * 3, [75.0] * 3, answers=rows)  # gaps 0, -100, 0, 100: variance 20000 / 3, of a mean of four
    assert row["loss_at_most"] == pytest.approx(1.959964 * math.sqrt(20000 / 3 / 4), rel=1e-5)


@pytest.mark.parametrize(
    ("found", "other", "margin", "outcome", "words"),
    [
        (
            [98.0, 98.1, 97.9],
            [98.1, 98.2, 98.0],
            None,
            YES,
            "yes, the found network is as good as your network within",
        ),
        (
            [98.0, 98.1, 97.9],
            [98.1, 98.2, 98.0],
            0.1,
            CANNOT_TELL,
            "cannot tell whether the found network is as good as",
        ),
        ([90.0, 90.1, 89.9], [98.1, 98.2, 98.0], None, NO, "no, the found network is worse than your network by more"),
        (
            [98.0, 98.1, 97.9],
            [90.1, 90.2, 90.0],
            None,
            YES,
            "yes, the found network is better than your network: 0.46 ×",
        ),
        ([98.0, 98.1], [98.1, 98.2], None, CANNOT_TELL, "-0.10 points, no interval from fewer than 3 retrain.seeds"),
    ],
)
def test_the_sentence_answers_whether_it_is_no_worse(found, other, margin, outcome, words):
    row = told(found, other, margin=margin)
    assert row["outcome"] == outcome
    assert words in row["verdict"]
    assert "0.46 × its MACs and 0.50 × its params" in row["verdict"]
    assert row["verdict"].endswith("all trained alike, by the recipe as it stands")


def test_what_is_smaller_the_better_loses_upwards():
    loss = Metric("minimize")
    worse = told([0.50, 0.51, 0.52], [0.40, 0.41, 0.42], "my_net:build", metric=loss)
    assert worse["outcome"] == NO
    assert worse["margin"] == pytest.approx(0.05 * 0.41) == usual_margin(loss, 0.41)
    assert worse["difference"] == pytest.approx(0.10)
    assert worse["difference_ci_low"] < 0.10 < worse["difference_ci_high"]
    assert worse["loss_at_most"] == pytest.approx(worse["difference_ci_high"])
    better = told([0.40, 0.41, 0.42], [0.50, 0.51, 0.52], "my_net:build", metric=loss)
    assert "better than my_net:build" in better["verdict"]
    assert better["loss_at_most"] == 0.0


def test_what_began_otherwise_is_said():
    pair = Pair([98.0] * 3, [98.0] * 3, None, PERCENT)
    row = no_worse("v1", pair, SHARES, None, False, "it from scratch, the found one from what was searched")
    assert row["verdict"].endswith("by the recipe as it stands, it from scratch, the found one from what was searched")


def test_the_network_itself_is_said_to_be_that():
    row = told([90.0, 98.0, 94.0], [90.0, 98.0, 94.0], same=True)
    assert (row["outcome"], row["difference"]) == (YES, 0.0)
    assert "what was found is your network itself" in row["verdict"]


def result(*names, controls=0):
    """What stage evaluate leaves, as far as the top of the report reads it."""
    latency = {"latency_ms": 1.0, "latency_low": 0.9, "latency_high": 1.1, "latency_one_thread_ms": 1.2}
    rows = [
        {"name": name, "macs": 4_000_000, "params": 2000, **over_seeds([90.0, 91.0, 92.0], PERCENT), **latency}
        | told([90.5, 91.5, 92.0], [90.0, 91.0, 92.0], name)
        for name in names
    ]
    return {
        **{
            "metric": "accuracy",
            "architecture": "0123456789ab",
            "outcome": NO,
            "verdict": "no, not better than random",
            "ece": 2.5,
        },
        **over_seeds([90.5, 91.5, 92.0], PERCENT),
        **{
            "found_scores": [90.5, 91.5, 92.0],
            "macs": 2_000_000,
            "params": 1000,
            "against": rows,
            "front": [],
            **latency,
        },
        **{"control_n": controls, "control_scores": [80.0 + i for i in range(controls)], "latency_device": "a <CPU>"},
        **{"control_macs": [1_500_000] * controls, "control_params": [900] * controls},
        **{"latency_threads": 2, "latency_load": 9.0},
    }


def test_the_original_leads_then_random_networks_then_the_others():
    said = verdicts(result("my_net:build", "original", controls=20))
    assert [text.partition(":")[0] for _, text in said] == [
        "cannot tell whether the found network is as good as your network within 1 point",
        "no, not better than random",
        "cannot tell whether the found network is as good as my_net",
    ]
    assert [how for how, _ in verdicts(result())] == [NO], "what nobody asked for is still said to be open"
    assert len(verdicts(result("original"))) == 1, "nobody asked for random networks"


def test_the_picture_holds_every_network():
    rows = points(result("original", "my_net:build", controls=3), "macs", PERCENT)
    kinds = [row["kind"] for row in rows]
    assert kinds == ["random"] * 3 + ["original", "rival", "found"]
    found = rows[-1]
    assert (found["cost"], found["score"]) == (2_000_000, pytest.approx(274 / 3))
    assert found["low"] < found["score"] < found["high"]
    assert rows[0]["low"] is None, "one retraining has no interval"
    assert points(result(), "params", PERCENT)[-1]["cost"] == 1000


def test_the_cost_is_what_the_limits_are_of():
    from tests.stages.tiny import tiny

    assert cost_of(tiny()) == cost_of(tiny(select__methods=["evolution"], select__max_macs=10**9)) == "macs"
    assert cost_of(tiny(select__methods=["evolution"], select__max_params=10**9)) == "params"
    slow = tiny(select__methods=["evolution"], select__max_latency_ms=5.0)
    assert cost_of(slow) == "latency_ms"
    board = slow.model_copy(update={"select": slow.select.model_copy(update={"device": "board.json"})})
    assert cost_of(board) == "macs", "evaluate measures on this machine"
    rows = points({**result("original", controls=2), "control_latency_ms": [0.5, 0.7]}, "latency_ms", PERCENT)
    assert [row["cost"] for row in rows] == [0.5, 0.7, 1.0, 1.0]


def test_the_top_of_the_report_shows_picture_and_rivals_after_the_verdict(monkeypatch):
    monkeypatch.setattr("winnow.run.headline.usable_cores", lambda: 2)
    page = headline(result("original", "a<b.json", controls=3), task_named("image_classification"), "<svg>here</svg>")
    assert (
        page.index("class='verdict") < page.index("<svg>here") < page.index("<table>") < page.index("class='numbers'")
    )
    assert "<td>a&lt;b.json</td>" in page
    assert "91.00 ± 1.00 % (n = 3)" in page
    assert "+0.33 points [" in page
    assert "under load 9.0 of others" in page
    assert "<svg>" not in headline(result(), task_named("image_classification"), "<svg>here</svg>"), "one point is none"
