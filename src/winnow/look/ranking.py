"""Proxies beside one another: how well each orders a table, and what it knows beyond size."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from winnow.look.style import ACCENT, CONTROL, sheet, styled


@styled()
def draw_ranking(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """One line a proxy: Kendall's tau with its interval, and the partial correlation given params and MACs.

    Sizes and aggregates are hollow. `rows` are those of `stage.ranking.Ranking`; without an order they are left out.
    """
    shown = [row for row in rows if row["kendall"] == row["kendall"]][::-1]
    figure = sheet(900, 110 + 20 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True)
    for place, row in enumerate(shown):
        colour = CONTROL if row["kind"] == "size" else ACCENT
        fill = colour if row["kind"] == "proxy" else "white"
        left.plot([row["kendall_low"], row["kendall_high"]], [place, place], color=colour, linewidth=3, alpha=0.35)
        left.plot(row["kendall"], place, "o", color=colour, markerfacecolor=fill, markersize=5)
        right.plot(row["given_size"], place, "o", color=colour, markerfacecolor=fill, markersize=5)
    left.set_yticks(range(len(shown)), [str(row["proxy"]) for row in shown])
    left.set_ylim(-0.6, len(shown) - 0.4)
    left.set(xlabel="Kendall's tau, 95 % interval")
    right.set(xlabel="Spearman's rho given params and MACs")
    for axes in (left, right):
        axes.axvline(0, color=CONTROL, linewidth=0.8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure
