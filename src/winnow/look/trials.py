"""Charts of studies: how the best came about, what traded off against what, which parameters mattered."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from winnow.look.style import ACCENT, ALARM, CONTROL, FAINT, INK, QUIET, sheet, styled

Rows = Sequence[Mapping[str, Any]]
WIDTH = 960


@styled()
def history(rows: Rows, metric: str) -> Figure:
    """A point a trial and the best so far; trials beyond a limit are crosses, those ended early are faint."""
    figure = sheet(WIDTH, 300)
    axes = figure.add_subplot()
    kinds = (
        ("complete", [r for r in rows if r["state"] == "complete" and _yes(r["feasible"])], "o", ACCENT),
        ("beyond a limit", [r for r in rows if r["state"] == "complete" and not _yes(r["feasible"])], "x", ALARM),
        ("ended early", [r for r in rows if r["state"] == "pruned"], ".", FAINT),
    )
    for label, group, marker, colour in kinds:
        points = [(int(r["trial"]), float(r["objective"])) for r in group if r["objective"] not in ("", None)]
        if points:
            axes.plot(*zip(*points, strict=True), marker, color=colour, label=f"{label} ({len(group)})", markersize=5)
    line = [(int(r["trial"]), float(r["best"])) for r in rows if r["best"] not in ("", None)]
    if line:
        axes.plot(*zip(*line, strict=True), color=INK, drawstyle="steps-post", linewidth=1.2, label="best so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel=metric.replace("_", " "))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best")
    return figure


@styled()
def pareto(rows: Rows, objectives: Sequence[str]) -> Figure:
    """The first objective over each other one; the front is joined, what passes a limit is a cross."""
    first, *others = objectives
    figure = sheet(WIDTH, 380)
    panels = figure.subplots(1, len(others), squeeze=False)[0]
    for axes, other in zip(panels, others, strict=True):
        groups = (
            ("beyond a limit", [r for r in rows if not r["feasible"]], "x", ALARM, 5),
            ("dominated", [r for r in rows if r["feasible"] and not r["front"]], "o", CONTROL, 4),
        )
        for label, group, marker, colour, size in groups:
            axes.plot(
                [r[other] for r in group], [r[first] for r in group], marker, color=colour, markersize=size, label=label
            )
        front = sorted((r[other], r[first], r["number"]) for r in rows if r["front"])
        style = {"color": ACCENT, "markersize": 6, "label": "Pareto front"}
        joined = {"linewidth": 1.2} if len(others) == 1 else {"linestyle": "none"}  # a front of three is no line
        axes.plot([x for x, _, _ in front], [y for _, y, _ in front], "o-", **{**style, **joined})
        trials: dict[tuple[float, float], list[int]] = {}  # equal trials are one point with all their numbers
        for x, y, number in front:
            trials.setdefault((x, y), []).append(number)
        for (x, y), numbers in list(trials.items())[:12]:
            axes.annotate(
                ", ".join(map(str, numbers)), (x, y), xytext=(4, 4), textcoords="offset points", size=7.5, color=QUIET
            )
        axes.set(xlabel=other.replace("_", " "), ylabel=first.replace("_", " "))
    panels[0].legend(loc="best")
    return figure


@styled()
def importances(shares: Mapping[str, float]) -> Figure:
    """Bars, the most important on top."""
    names = list(shares)[::-1]
    figure = sheet(WIDTH, 90 + 26 * len(names))
    axes = figure.add_subplot()
    axes.barh(names, [float(shares[name]) for name in names], color=ACCENT, height=0.6)
    axes.set(xlim=(0, 1), xlabel="share of the variance that the parameter explains (fANOVA)")
    axes.grid(axis="y", visible=False)
    return figure


def _yes(value: object) -> bool:
    """As written, or as a CSV has it."""
    return value is True or value == "True"
