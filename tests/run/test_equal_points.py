"""What a figure must not hide: networks that are equal, and the ends of titles."""

from winnow.look import charts, trials
from winnow.look.bounds import bounds
from winnow.look.tradeoff import tradeoff


def texts(figure):
    return [each.get_text() for each in figure.axes[0].texts]


def compared(name, scores, kind="random", **gap):
    of = dict.fromkeys(("low", "high", "gap", "gap_low", "gap_high", "outcome", "margin"))
    return {"name": name, "kind": kind, "scores": scores, **of, **gap}


def test_equal_scores_stand_above_one_another():
    rows = [compared("found", [97.0], "found"), compared("random networks", [90.0, 90.0, 95.0])]
    line = bounds(rows, "accuracy").axes[0].get_lines()[2]
    assert list(zip(*line.get_data(), strict=True)) == [(90.0, -1), (90.0, -0.88), (95.0, -1)]
    many = bounds([compared("random networks", [90.0] * 40)], "accuracy").axes[0].get_lines()[0]
    assert max(many.get_ydata()) < 0.5  # where the row above is


def test_what_is_compared_has_its_interval_and_its_word_in_the_same_chart():
    gap = {"gap": 3.0, "gap_low": 1.0, "gap_high": 5.0, "outcome": "yes", "margin": -1.0}
    rows = [compared("found", [97.0, 96.0], "found"), compared("your " + "long " * 20 + "network", [93.0], **gap)]
    figure = bounds(rows, "accuracy")
    figure.draw_without_rendering()
    left, right = figure.axes
    assert [tuple(line.get_xdata()) for line in right.get_lines()] == [(1.0, 5.0), (3.0,), (-1.0, -1.0), (0, 0)]
    assert [each.get_text() for each in right.texts] == ["yes"]
    assert all(label.get_window_extent().x0 >= 0 for label in left.get_yticklabels())  # no name is cut
    assert all(axes.xaxis.label.get_window_extent().x1 <= figure.bbox.x1 for axes in figure.axes)
    assert len(bounds([compared("found", [97.0], "found")], "accuracy").axes) == 1  # nothing to compare: no panel


def test_how_many_are_at_one_point_is_said():
    rows = [{"kind": "random", "name": "", "cost": 1e6, "score": 90.0, "low": None, "high": None} for _ in range(2)]
    rows.append({**rows[0], "kind": "found", "name": "found", "cost": 2e6})
    assert texts(tradeoff(rows, "accuracy", "macs")) == ["×2", "found"]


def test_equal_trials_of_a_front_are_named_together():
    row = {"feasible": True, "front": True, "accuracy": 0.9, "params": 10.0}
    rows = [{**row, "number": 3}, {**row, "number": 7}, {**row, "number": 8, "params": 5.0, "accuracy": 0.8}]
    assert texts(trials.pareto(rows, ["accuracy", "params"])) == ["8", "3, 7"]


def test_titles_of_many_curves_stand_beside_one_another():
    metrics = ["train_loss", "valid_loss", "lr", "parameter_free", "entropy", "eigenvalue", "discretisation_gap"]
    figure = charts.curves({"search": [{"epoch": i, **dict.fromkeys(metrics, 1.0 + i)} for i in range(3)]}, metrics)
    figure.draw_without_rendering()
    boxes = [axes.title.get_window_extent() for axes in figure.axes if axes.get_visible()]
    assert len(boxes) == 7
    assert all(box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
