"""What a figure must not hide: networks that are equal, and the ends of titles."""

from winnow.look import charts, trials
from winnow.look.tradeoff import tradeoff


def texts(figure):
    return [each.get_text() for each in figure.axes[0].texts]


def test_equal_scores_stand_above_one_another():
    lines = charts.against_controls([97.0], [90.0, 90.0, 95.0]).axes[0].get_lines()
    assert list(zip(*lines[0].get_data(), strict=True)) == [(90.0, 0), (90.0, 0.12), (95.0, 0)]
    many = charts.against_controls([], [90.0] * 40).axes[0].get_lines()[0]
    assert max(many.get_ydata()) < 1  # where the found ones are


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
