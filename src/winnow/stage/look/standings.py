"""The picture of a study: scores of every seed, and mean ranks with the critical difference."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from winnow.stage.look.style import ACCENT, ALARM, CONTROL, QUIET, sheet, styled


@styled()
def standings(
    rows: Sequence[Mapping[str, Any]], ranks: Mapping[str, float], blocks: int, difference: float, score: str
) -> Figure:
    """Left: one line a combination, a point a seed (red where the mixture collapsed), a bar at the mean.

    Right: mean ranks over `blocks` of space and seed; lines join combinations that differ by less than `difference`.
    """
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault(f"{row['space']}: {row['method']}, {row['selection']}", []).append(row)
    order = sorted(lines, key=lambda name: sum(row["score"] for row in lines[name]) / len(lines[name]))
    figure = sheet(1000, 120 + 26 * max(len(order), len(ranks)))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for place, name in enumerate(order):
        scores = [row["score"] for row in lines[name]]
        colours = [ALARM if row["collapse"] else ACCENT for row in lines[name]]
        left.scatter(scores, [place] * len(scores), c=colours, s=22, alpha=0.8)
        mean = sum(scores) / len(scores)
        left.plot([mean, mean], [place - 0.3, place + 0.3], color=CONTROL, linewidth=2)
    left.set_yticks(range(len(order)), order)
    left.set(xlabel=f"{score}; red: the watch saw a collapse")
    best_last = sorted(ranks, key=lambda name: -ranks[name])
    for place, name in enumerate(best_last):
        right.plot(ranks[name], place, "o", color=ACCENT)
    right.set_yticks(range(len(best_last)), best_last)
    right.invert_xaxis()
    told = f", critical difference {difference:.2f}" if math.isfinite(difference) else ""
    right.set(xlabel=f"mean rank, n = {blocks}{told}")
    for start, end in groups(ranks, difference):
        height = best_last.index(start) + 0.35
        right.plot([ranks[start], ranks[end]], [height, height], color=QUIET, linewidth=3, solid_capstyle="butt")
    return figure


def groups(ranks: Mapping[str, float], difference: float) -> list[tuple[str, str]]:
    """(first, last) of each longest run of neighbours in rank that lies within `difference`."""
    order = sorted(ranks, key=ranks.__getitem__)
    found: list[tuple[int, int]] = []
    for i, name in enumerate(order):
        j = max(k for k in range(i, len(order)) if ranks[order[k]] - ranks[name] < difference)
        if j > i and (not found or j > found[-1][1]):
            found.append((i, j))
    return [(order[i], order[j]) for i, j in found]
