"""One chart of what a verdict stands on: the scores of all that was compared, and what was gained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnow.look.style import ACCENT, ALARM, CONTROL, INK, QUIET, SERIES, sheet, shortened, styled

Rows = Sequence[Mapping[str, Any]]
WIDTH, LINE = 960, 46  # pixels, of the figure and of a row
COLOURS = {"found": ACCENT, "random": CONTROL, "original": INK, "rival": SERIES[1], "front": SERIES[2]}
OUTCOMES = {"yes": SERIES[2], "no": ALARM, "cannot tell": SERIES[4]}


@styled()
def bounds(rows: Rows, metric: str, better: str = "more") -> Figure:
    """A line a row, the first on top: on the left its scores, on the right what was found beside it.

    Rows have `name`, `kind` (of `COLOURS`) and `scores`; `low` and `high` are the ends of the 95 % interval of their
    mean, or None. `gap`, `gap_low`, `gap_high`, `outcome` (yes, no, cannot tell) and `margin` are of the difference,
    found minus this row, in the metric itself; None where nothing is compared. `better`: whether more of it or less.
    """
    compared = any(row["gap"] is not None for row in rows)
    figure = sheet(WIDTH, 70 + LINE * max(len(rows), 2))
    panels = list(figure.subplots(1, 1 + compared, sharey=True, squeeze=False, width_ratios=[3, 2][: 1 + compared])[0])
    for place, row in enumerate(rows):
        _scores(panels[0], -place, row)
        if row["gap"] is not None:
            _gap(panels[1], -place, row)
    names = [f"{shortened(row['name'], 32)} (n = {len(row['scores'])})" for row in rows]
    panels[0].set_yticks([-place for place in range(len(rows))], names)
    panels[0].set(ylim=(0.6 - len(rows), 0.6), xlabel=f"test {metric.replace('_', ' ')}; bars: mean, 95 % interval")
    if compared:
        panels[1].axvline(0, color=QUIET, linewidth=1)
        panels[1].set(xlabel=f"found minus it; {better} is better")
    for axes in panels:
        axes.grid(axis="y", visible=False)
    return figure


def _scores(axes: Axes, y: float, row: Mapping[str, Any]) -> None:
    colour, values = COLOURS[row["kind"]], row["scores"]
    if row["low"] is not None:
        axes.plot([row["low"], row["high"]], [y, y], color=colour, alpha=0.25, linewidth=9, solid_capstyle="butt")
    axes.plot(*stacked(values, y), "o", color=colour, alpha=0.75)
    if values:
        mean = sum(values) / len(values)
        axes.plot([mean, mean], [y - 0.3, y + 0.3], color=colour, linewidth=2.5)


def _gap(axes: Axes, y: float, row: Mapping[str, Any]) -> None:
    """The difference with its interval in the colour of the outcome; a dashed mark where the margin ends."""
    colour = OUTCOMES[row["outcome"]]
    if row["gap_low"] is not None:
        axes.plot([row["gap_low"], row["gap_high"]], [y, y], color=colour, linewidth=2.5)
    axes.plot([row["gap"]], [y], "o", color=colour, markersize=7)
    if row["margin"] is not None:
        axes.plot([row["margin"]] * 2, [y - 0.3, y + 0.3], color=QUIET, linestyle="--", linewidth=1)
    where: dict[str, Any] = {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "va": "bottom", "size": 8}
    axes.annotate(row["outcome"], (row["gap"], y), color=QUIET, **where)


def stacked(values: Sequence[float], y: float, room: float = 0.45) -> tuple[list[float], list[float]]:
    """Points (x, y) of which equal ones stand one above another, all below y + `room`."""
    counts, seen = Counter(values), Counter[float]()
    step = min(0.12, room / max(counts.values(), default=1))
    heights = []
    for value in values:
        heights.append(y + step * seen[value])
        seen[value] += 1
    return list(values), heights
