"""One picture: how good networks are against what they cost."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from winnow.look.style import ACCENT, CONTROL, DPI, INK, PAPER, QUIET, SERIES, sheet, shortened, styled, text_width

Rows = Sequence[Mapping[str, Any]]
WIDTH, HEIGHT = 960, 380
WIDE = 8  # the ratio of costs from which the axis is logarithmic
UNITS = {
    "macs": (1e6, "million multiply-accumulates"),
    "params": (1e3, "thousand parameters"),
    "latency_ms": (1.0, "milliseconds of one input, all measured by turns"),
}
KINDS = {  # marker, colour, and what the legend says; drawn in this order
    "random": ("o", CONTROL, "random networks, one retraining each"),
    "front": ("^", SERIES[2], "found for other limits"),
    "rival": ("s", SERIES[1], "compared with"),
    "original": ("D", INK, "your network"),
    "found": ("o", ACCENT, "found"),
}
LINE = 15  # pixels between two labels


@styled()
def tradeoff(points: Rows, metric: str, cost: str) -> Figure:
    """`points` have kind (of `KINDS`), name, cost, score, low and high: bars are 95 % intervals if there are any."""
    unit, words = UNITS[cost]
    figure = sheet(WIDTH, HEIGHT)
    axes = figure.add_subplot()
    for kind, (marker, colour, label) in KINDS.items():
        rows = [row for row in points if row["kind"] == kind]
        if not rows:
            continue
        x, y = [row["cost"] / unit for row in rows], [row["score"] for row in rows]
        plain = kind == "random"
        looks: dict[str, Any] = {"markersize": 5 if plain else 8, "alpha": 0.6 if plain else 1.0, "color": colour}
        axes.plot(x, y, marker, label=f"{label} (n = {len(rows)})" if plain else label, zorder=2 + (not plain), **looks)
        bars = [row for row in rows if row["low"] is not None]
        axes.vlines([r["cost"] / unit for r in bars], [r["low"] for r in bars], [r["high"] for r in bars], color=colour)
    _limits(axes, points, unit)
    _several(axes, points, unit)
    _labels(axes, [row for row in points if row["name"]], unit)
    axes.set(xlabel=words, ylabel=f"test {metric.replace('_', ' ')}; bars: 95 % intervals over seeds")
    figure.legend(loc="outside lower center", ncols=len(KINDS))
    return figure


def _several(axes: Axes, points: Rows, unit: float) -> None:
    """How many networks are at one point, below it, where they hide each other."""
    heaps = Counter((row["cost"], row["score"]) for row in points)
    for (cost, score), count in heaps.items():
        if count > 1:
            where: dict[str, Any] = {"xytext": (0, -10), "textcoords": "offset points", "ha": "center", "va": "center"}
            axes.annotate(f"×{count}", (cost / unit, score), color=QUIET, size=8, zorder=4, **where)


def _limits(axes: Axes, points: Rows, unit: float) -> None:
    costs = [row["cost"] / unit for row in points]
    ends = [row[end] for row in points for end in ("score", "low", "high") if row[end] is not None]
    low, high, room = min(costs), max(costs), 0.08 * (max(ends) - min(ends)) or 1.0
    axes.set_ylim(min(ends) - room, max(ends) + room)
    if low > 0 and high / low > WIDE:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(low / 1.15, high * 1.15)
    else:
        spread = 0.08 * (high - low) or 0.5 * high or 1.0
        axes.set_xlim(low - spread, high + spread)


def _labels(axes: Axes, rows: Rows, unit: float) -> None:
    """Names beside their points, on the side where there is room; one above another where they would overlap."""
    placed: list[tuple[float, float, float]] = []  # from x, to x, y: about where texts stand, in pixels
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    scale = math.log if axes.get_xscale() == "log" else float
    for row in sorted(rows, key=lambda row: row["score"]):
        text = shortened(row["name"], 32)
        x = WIDTH * (scale(row["cost"] / unit) - scale(left)) / (scale(right) - scale(left))
        y = wanted = (HEIGHT - 90) * (row["score"] - bottom) / (top - bottom)
        width, after = text_width(text), x < WIDTH / 2
        ends = (x + 10, x + 10 + width) if after else (x - 10 - width, x - 10)
        while any(ends[0] < to and from_ < ends[1] and abs(y - at) < LINE for from_, to, at in placed):
            y += 1
        placed.append((*ends, y))
        shift = (10 if after else -10, y - wanted)
        axes.annotate(
            text,
            (row["cost"] / unit, row["score"]),
            xytext=(72 / DPI * shift[0], 72 / DPI * shift[1]),
            textcoords="offset points",
            ha="left" if after else "right",
            va="center",
            color=KINDS[row["kind"]][1],
            size=9,
            zorder=4,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.7, "pad": 0.8},
        )
