"""The picture of a study: scores of every seed, and mean ranks with the critical difference."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from winnow.look.style import ACCENT, ALARM, CONTROL, QUIET, sheet, styled


@styled()
def standings(rows: Sequence[Mapping[str, Any]], ranks: Mapping[str, float], blocks: int, difference: float) -> Figure:
    """Left: a panel a space, as scores of two spaces share no axis: one line a combination, a point a seed (red where
    the mixture collapsed), a bar at the mean, best last.

    Right: mean ranks over `blocks` of space and seed; lines join combinations that differ by less than `difference`.
    """
    panels: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for row in rows:
        lines = panels.setdefault(f"{row['space']}: {row['unit']}", {})
        lines.setdefault(f"{row['method']}, {row['selection']}", []).append(row)
    heights = [max(len(lines), 2) for lines in panels.values()]
    figure = sheet(1000, 60 + 60 * len(panels) + 26 * max(sum(heights), len(ranks)))
    halves: Any = figure.subfigures(1, 2, width_ratios=(3, 2))
    left, right = halves
    axes = left.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (name, lines) in zip(axes, panels.items(), strict=True):
        _scores(axis, name, lines)
    _ranks(right.subplots(), ranks, blocks, difference)
    return figure


def _scores(axis: Axes, name: str, lines: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    scores = {line: [row["score"] for row in found if row["score"] is not None] for line, found in lines.items()}
    order = sorted(scores, key=lambda line: sum(scores[line]) / len(scores[line]) if scores[line] else -math.inf)
    for place, line in enumerate(order):
        if not scores[line]:
            continue
        colours = [ALARM if row["collapse"] else ACCENT for row in lines[line] if row["score"] is not None]
        axis.scatter(scores[line], [place] * len(scores[line]), c=colours, s=22, alpha=0.8)
        mean = sum(scores[line]) / len(scores[line])
        axis.plot([mean, mean], [place - 0.3, place + 0.3], color=CONTROL, linewidth=2)
    axis.set_yticks(range(len(order)), [line if scores[line] else f"{line} (failed)" for line in order])
    red = any(row["collapse"] for found in lines.values() for row in found)
    axis.set(xlabel=name + ("; red: the watch saw a collapse" if red else ""))


def _ranks(axis: Axes, ranks: Mapping[str, float], blocks: int, difference: float) -> None:
    best_last = sorted(ranks, key=lambda name: -ranks[name])
    for place, name in enumerate(best_last):
        axis.plot(ranks[name], place, "o", color=ACCENT)
    axis.set_yticks(range(len(best_last)), best_last)
    axis.invert_xaxis()
    told = f", critical difference {difference:.2f}" if math.isfinite(difference) else ""
    axis.set(xlabel=f"mean rank, n = {blocks}{told}")
    for start, end in groups(ranks, difference):
        height = best_last.index(start) + 0.35
        axis.plot([ranks[start], ranks[end]], [height, height], color=QUIET, linewidth=3, solid_capstyle="butt")


def groups(ranks: Mapping[str, float], difference: float) -> list[tuple[str, str]]:
    """(first, last) of each longest run of neighbours in rank that lies within `difference`."""
    order = sorted(ranks, key=ranks.__getitem__)
    found: list[tuple[int, int]] = []
    for i, name in enumerate(order):
        j = max(k for k in range(i, len(order)) if ranks[order[k]] - ranks[name] < difference)
        if j > i and (not found or j > found[-1][1]):
            found.append((i, j))
    return [(order[i], order[j]) for i, j in found]
