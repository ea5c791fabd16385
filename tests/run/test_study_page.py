"""The page of a study: everything side by side, nothing from outside, equal points and failures not hidden."""

import json
import re

from winnow.core.decision import Decision
from winnow.look.side_by_side import best_first, side_by_side
from winnow.run.comparisons import baseline_of, gains, leaders, ranks, summary
from winnow.run.study_page import Study, study_page

OPTIONS = ("none", "skip_connect", "nor_conv_3x3")
EDGES = {name: Decision(name, OPTIONS) for name in ("1<-0", "2<-0", "2<-1")}


def cell(method, seed, score, option="nor_conv_3x3", macs=1_000_000, selection="own", error=""):
    return {
        "space": "small",
        "method": method,
        "selection": selection,
        "seed": seed,
        "score": score,
        "unit": "accuracy, percent",
        "architecture": json.dumps(dict.fromkeys(EDGES, option)),
        "digest": option,
        "inherited_accuracy": None,
        "parameter_free": 0.0,
        "collapse": "",
        "params": 1234,
        "macs": macs,
        "seconds": 61.0,
        "table": "{}",
        "error": error,
    }


def shown(rows, notes=("a note & more",)):
    baseline = baseline_of(rows, None)
    study = Study(
        rows, summary(rows), gains(rows, baseline), leaders(rows), baseline, ranks(rows), {"small": EDGES}, notes
    )
    return study_page(study)


ROWS = [
    *(cell("spos", seed, 80.0 + seed, macs=2_000_000) for seed in range(3)),
    *(cell("darts", seed, 60.0 + 2 * seed % 3, "skip_connect") for seed in range(3)),
]


def test_it_holds_means_verdicts_costs_and_what_was_found():
    text = shown(ROWS)
    assert "Study: 2 combinations, 3 seeds" in text
    for said in ("<td>81.00 ± 1.00</td>", "<td>61.00 ± 1.00</td>", "worse: -20.00", "<td>this is it</td>", "1,234"):
        assert said in text
    assert "Beside spos, 0 better, 1 worse, 0 cannot tell." in text
    assert "seeds 0, 1, 2" in text  # one card for what three seeds found
    assert text.count("<div><b>") == 2
    assert "a note &amp; more" in text
    assert "spos, own" not in text.split("<h2>")[0]  # one selection has no need of a name


def test_it_needs_nothing_from_outside():
    text = shown(ROWS)
    assert "<script" not in text
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:image/)[^"']+""", text)
    assert "prefers-color-scheme: dark" in text
    assert "name='viewport'" in text


def test_what_failed_says_why_and_a_study_without_scores_has_a_page():
    failed = [{**cell("gdas", seed, None, error="no <room>"), "macs": None, "params": None} for seed in range(3)]
    text = shown([*ROWS, *failed])
    assert text.count("no &lt;room&gt;") == 3
    assert "<td>3 failed</td>" in text
    alone = shown(failed)
    assert "small: no cell was finished." in alone
    assert "<svg" not in alone


def test_two_selections_are_told_apart():
    rows = [cell("darts", seed, 60.0 + seed, selection=name) for name in ("magnitude", "best") for seed in (0, 1)]
    text = shown(rows)
    assert "<td>darts, magnitude</td>" in text
    assert "cannot tell" in text  # two seeds decide nothing


def test_equal_points_are_counted_and_the_line_joins_what_nothing_beats():
    points = {"spos": [{"cost": 1e6, "score": 70.0, "low": None, "high": None}] * 2}
    points["darts"] = [{"cost": 2e6, "score": 60.0, "low": 50.0, "high": 70.0}]
    figure = side_by_side({"small: accuracy of a long name that nobody may cut": points}, ("M MACs", 1e6))
    assert [each.get_text() for each in figure.axes[0].texts] == ["×2"]
    figure.draw_without_rendering()
    assert figure.axes[0]._left_title.get_window_extent().x1 <= figure.bbox.x1
    assert best_first([(2, 60), (1, 70), (3, 70), (3, 80), (1, 65)]) == [(1, 70), (3, 80)]
