"""Methods side by side in one picture: how good what each found is, against what it costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnow.look.style import FAINT, QUIET, SERIES, sheet, styled

WIDTH, HEIGHT = 960, 360
MARKS = "osD^vP*Xhp<>"

Points = Mapping[str, Sequence[Mapping[str, Any]]]


@styled()
def side_by_side(spaces: Mapping[str, Points], costs: tuple[str, float]) -> Figure:
    """A panel a space (its name with the unit of its scores), a colour and mark a method.

    Points have `cost`, `score`, and the ends of the 95 % interval of the method's mean, `low` and `high`, or None.
    Small ones are its seeds, the large one their mean; the line joins means that no other beats at as little cost.
    Those that are `random` are hollow and in no mean: networks that nobody chose, which a method is beside.
    `costs` are words, and what a cost is divided by.
    """
    words, unit = costs
    names = list(dict.fromkeys(name for points in spaces.values() for name in points))
    figure = sheet(WIDTH, HEIGHT * len(spaces))
    for axes, (title, points) in zip(figure.subplots(len(spaces), 1, squeeze=False)[:, 0], spaces.items(), strict=True):
        _panel(axes, points, names, unit)
        axes.set(xlabel=words, title=title)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    for axes in figure.axes[1:]:
        known |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(known.values(), known, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, points: Points, names: Sequence[str], unit: float) -> None:
    means = {}
    for name, rows in points.items():
        place = names.index(name)
        looks: dict[str, Any] = {
            "color": SERIES[place % len(SERIES)],
            "marker": MARKS[place % len(MARKS)],
            "linestyle": "none",
        }
        random, rows = ([row for row in rows if bool(row.get("random")) is kind] for kind in (True, False))
        x, y = [row["cost"] / unit for row in random], [row["score"] for row in random]
        axes.plot(x, y, markersize=4, alpha=0.5, fillstyle="none", **looks)
        x, y = [row["cost"] / unit for row in rows], [row["score"] for row in rows]
        means[name] = sum(x) / len(x), sum(y) / len(y)
        axes.plot(x, y, markersize=4, alpha=0.5, **looks)
        axes.plot(*means[name], markersize=10, label=f"{name} (n = {len(rows)})", zorder=3, **looks)
        if rows[0]["low"] is not None:
            axes.vlines(means[name][0], rows[0]["low"], rows[0]["high"], color=looks["color"], zorder=2)
    front = best_first(list(means.values()))
    if len(front) > 1:
        axes.plot(*zip(*front, strict=True), color=FAINT, drawstyle="steps-post", linewidth=2, zorder=1)
    heaps = Counter((row["cost"] / unit, row["score"]) for rows in points.values() for row in rows)
    for where, count in heaps.items():
        if count > 1:
            at: dict[str, Any] = {"xytext": (0, -10), "textcoords": "offset points", "ha": "center", "va": "center"}
            axes.annotate(f"×{count}", where, color=QUIET, size=8, zorder=4, **at)


def best_first(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, score) those that none beats: no other has as much score at less cost, or more at as little."""
    kept: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or score > kept[-1][1]:
            kept.append((cost, score))
    return kept
