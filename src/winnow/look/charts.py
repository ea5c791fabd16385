"""Charts of a pipeline's numbers: each function takes rows as the stages wrote them and returns a figure."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from winnow.look.style import ACCENT, ALARM, CONTROL, INK, QUIET, RULE, SERIES, palette, sheet, shortened, styled

Rows = Sequence[Mapping[str, Any]]
WIDTH = 960


@styled()
def curves(groups: Mapping[str, Rows], metrics: Sequence[str], x: str = "epoch") -> Figure:
    """One panel a metric, one line a group: `groups` maps a label to rows that hold `x` and the metrics."""
    columns = min(len(metrics), 4)  # more, and their titles would not fit
    lines = math.ceil(len(metrics) / columns)
    figure = sheet(WIDTH, 50 + 210 * lines)
    panels = _panels(figure, lines, columns)
    for axes in panels[len(metrics) :]:
        axes.set_visible(False)
    for axes, metric in zip(panels, metrics, strict=False):
        axes.ticklabel_format(useOffset=False)
        for label, rows in groups.items():
            points = [(float(row[x]), float(row[metric])) for row in rows if row.get(metric) not in (None, "")]
            axes.plot(*zip(*points, strict=True), label=label, marker="." if len(points) < 4 else None)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)  # also where there is one epoch
        axes.set(title=metric.replace("_", " "), xlabel=x)
    if len(groups) > 1:
        figure.axes[0].legend()
    return figure


@styled()
def rounds(rows: Rows, metric: str) -> Figure:
    """Of federated training: each client's own held-out rows (thin) and all of them (thick), and what is forgotten."""
    figure = sheet(WIDTH, 300)
    for axes, column in zip(_panels(figure, 1, 2), ("value", "forgetting"), strict=True):
        clients = sorted({row["client"] for row in rows if row["client"] is not None})
        for number, client in enumerate([*clients, None]):
            points = [(row["visit"] + 1, row[column]) for row in rows if row["client"] == client]
            points = [(visit, value) for visit, value in points if value is not None] or [(1, float("nan"))]
            whole = client is None
            name = "all clients" if whole else f"client {client}"
            style = {"color": INK if whole else SERIES[number % len(SERIES)], "linewidth": 2.4 if whole else 1.0}
            axes.plot(*zip(*points, strict=True), label=name, alpha=1.0 if whole else 0.7, **style)
        axes.locator_params(axis="x", integer=True)
        title = f"{metric.replace('_', ' ')} on held-out rows" if column == "value" else "forgetting: below its best"
        axes.set(title=title, xlabel="visit")
    if len(clients) <= 10:
        figure.axes[0].legend()
    return figure


@styled()
def weights_over_time(rows: Rows) -> Figure:
    """Small multiples, one a decision: the mixture weight of each option over the epochs."""
    decisions: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        options = decisions.setdefault(row["decision"], {})
        options.setdefault(str(row["option"]), []).append((float(row["epoch"]), float(row["weight"])))
    colours = palette(option for options in decisions.values() for option in options)
    columns = 3 if len(decisions) <= 9 else 7
    lines = math.ceil(len(decisions) / columns)
    figure = sheet(WIDTH, 60 + lines * (150 if columns == 3 else 105))
    panels = _panels(figure, lines, columns, sharex=True, sharey=True)
    for axes, (decision, options) in zip(panels, decisions.items(), strict=False):
        for option, points in options.items():
            axes.plot(*zip(*points, strict=True), color=colours[option], linewidth=1.2)
        axes.set_title(shortened(decision, 18), fontsize=8)
    for axes in panels[len(decisions) :]:
        axes.set_visible(False)
    handles = [figure.axes[0].plot([], [], color=colour)[0] for colour in colours.values()]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=min(len(colours), 5))
    return figure


@styled()
def confusion(rows: Rows) -> Figure:
    """Shares of each true class; counts are written where there is room."""
    classes = list(dict.fromkeys(str(row["actual"]) for row in rows))
    counts = {(str(row["actual"]), str(row["predicted"])): int(row["count"]) for row in rows}
    table = [[counts.get((actual, predicted), 0) for predicted in classes] for actual in classes]
    shares = [[count / max(sum(line), 1) for count in line] for line in table]
    side = min(620, 200 + 36 * len(classes))
    figure = sheet(side, side)
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes)) if len(classes) <= 25 else []
    labels = [shortened(classes[i], 12) for i in ticks]
    axes.set_xticks(ticks, labels, rotation=45, ha="right")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(False)
    if len(classes) <= 15:
        for i, line in enumerate(table):
            for j, count in enumerate(line):
                if count:
                    axes.text(
                        j, i, str(count), ha="center", va="center", color="white" if shares[i][j] > 0.6 else INK, size=8
                    )
    return figure


def reliability(rows: Rows) -> Figure:
    """Accuracy over confidence in bins; the diagonal is a network that is as often right as it is sure."""
    return _frequencies(rows, "confidence", "accuracy", "inputs")


def chances(rows: Rows) -> Figure:
    """How often rows were clicked, over the chance they were given, in bins; on the diagonal both agree."""
    return _frequencies(rows, "chance", "clicked", "rows")


@styled()
def neighbours(rows: Rows) -> Figure:
    """A line a query, at its left, and then the rows nearest to it with their cosines: framed red where they err."""
    lines = list(dict.fromkeys(str(row["query"]) for row in rows))
    columns = 1 + max(int(row["rank"]) for row in rows)
    figure = sheet(80 * columns, 86 * len(lines))
    panels = figure.subplots(len(lines), columns, squeeze=False)
    for row in rows:
        rank = int(row["rank"])
        axes = panels[lines.index(str(row["query"])), rank]
        pixels = imread(io.BytesIO(base64.b64decode(row["png"])))
        axes.imshow(pixels, cmap="grey" if pixels.ndim == 2 else None, vmin=0, vmax=1)
        colour = INK if not rank else SERIES[2] if str(row["right"]) == "True" else ALARM
        name = shortened(str(row["class"]), 10)
        axes.set_title(f"{name} {float(row['cosine']):.2f}" if rank else name, fontsize=6.5, color=colour)
        for side in axes.spines.values():
            side.set(visible=True, color=colour, linewidth=2)
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
    return figure


@styled()
def boxes_drawn(rows: Rows) -> Figure:
    """Images with their boxes: found ones green, wrong ones red, missed ones dashed; category and score above."""
    places = list(dict.fromkeys(str(row["image"]) for row in rows))
    colours = {"found": SERIES[2], "wrong": ALARM, "missed": SERIES[4]}
    columns = min(4, len(places))
    lines = math.ceil(len(places) / columns)
    figure = sheet(WIDTH, 210 * lines)
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for row in rows:
        axes, kind = panels[places.index(str(row["image"]))], str(row["kind"])
        if kind == "image":
            pixels = imread(io.BytesIO(base64.b64decode(row["png"])))
            axes.imshow(pixels, cmap="grey" if pixels.ndim == 2 else None, vmin=0, vmax=1)
            axes.set_title(f"test image {row['image']}", fontsize=7)
            continue
        x1, y1, x2, y2 = (float(row[name]) for name in ("x1", "y1", "x2", "y2"))
        style: dict[str, Any] = {
            "edgecolor": colours[kind],
            "linestyle": "--" if kind == "missed" else "-",
            "linewidth": 1.1,
        }
        axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, **style))
        score = "" if row["score"] in (None, "", "None") else f" {float(row['score']):.2f}"
        axes.text(
            x1, y1 - 1, f"{shortened(str(row['category']), 10)}{score}", fontsize=4.5, color=colours[kind], clip_on=True
        )
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.set_axis_off()
    handles = [
        Line2D([], [], color=colour, linestyle="--" if kind == "missed" else "-") for kind, colour in colours.items()
    ]
    figure.legend(handles, list(colours), loc="outside lower center", ncols=3)
    return figure


@styled()
def precision_recall(rows: Rows) -> Figure:
    """A line a category: which share of the found boxes is right, when so large a share of all is found."""
    figure = sheet(420, 380)
    axes = figure.subplots()
    for name in dict.fromkeys(str(row["category"]) for row in rows):
        points = [(float(row["recall"]), float(row["precision"])) for row in rows if str(row["category"]) == name]
        axes.plot(*zip(*points, strict=True), label=shortened(name, 24))
    axes.set(xlabel="recall", ylabel="precision", title="boxes that overlap by half", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    return figure


@styled()
def _frequencies(rows: Rows, chance: str, came: str, things: str) -> Figure:
    figure = sheet(420, 380)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=CONTROL, linestyle="--", linewidth=1)
    total = sum(int(row["count"]) for row in rows)
    for row in rows:
        low, high = float(row[f"{chance}_low"]), float(row[f"{chance}_high"])
        share = int(row["count"]) / total
        axes.bar((low + high) / 2, float(row[came]), high - low, color=ACCENT, alpha=0.25 + 0.75 * share)
    axes.set(xlabel=f"{chance} (darker bars hold more {things})", ylabel=came, xlim=(0, 1), ylim=(0, 1))
    return figure


@styled()
def masks(rows: Rows, metric: str = "accuracy, percent", sign: int = 1) -> Figure:
    """Evidence of perturbation: what the supernet was without each option; the one where it is worst was kept.

    In `metric`, whose values times `sign` are in column accuracy.
    """
    rows = [{**row, "accuracy": sign * row["accuracy"]} for row in rows]
    decisions: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        decisions.setdefault(row["decision"], []).append(row)
    columns = 3 if len(decisions) <= 9 else 6
    lines = math.ceil(len(decisions) / columns)
    deepest = max(len(options) for options in decisions.values())
    figure = sheet(WIDTH, 40 + lines * (50 + 16 * deepest))
    low = min(row["accuracy"] for row in rows)
    high = max(row["accuracy"] for row in rows)
    margin = max(0.05 * (high - low), 0.1)
    panels = _panels(figure, lines, columns, sharex=True)
    for axes, (decision, options) in zip(panels, decisions.items(), strict=False):
        for y, row in enumerate(options):
            axes.barh(y, row["accuracy"] - low + margin, left=low - margin, color=ACCENT if row["kept"] else RULE)
        names = [shortened(row["option"], 14 if columns == 3 else 9) for row in options]
        axes.set_yticks(range(len(options)), names, fontsize=7.5)
        axes.invert_yaxis()
        axes.set_title(f"{shortened(decision, 16)}  (event {options[0]['event'] + 1})", fontsize=8, color=QUIET)
        axes.grid(axis="y", visible=False)
        axes.set_xlim(low - margin, high + margin)
    for axes in panels[len(decisions) :]:
        axes.set_visible(False)
    figure.supxlabel(f"{metric} of the supernet without the option", fontsize=8.5, color=QUIET)
    return figure


@styled()
def evaluated(rows: Rows, metric: str = "accuracy, percent", sign: int = 1) -> Figure:
    """Evidence of evolution: what each child inherited, in `metric` as of `masks`; its score where none was trained."""
    trained = rows[0]["accuracy"] is not None
    values = [sign * row["accuracy"] if trained else row["score"] for row in rows]
    figure = sheet(WIDTH, 240)
    axes = figure.add_subplot()
    axes.plot([row["event"] for row in rows], values, "o", color=SERIES[0], alpha=0.5)
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="generation", ylabel=f"inherited {metric}" if trained else "score of untrained networks")
    return figure


def _panels(figure: Figure, lines: int, columns: int, **shared: Any) -> list[Any]:
    return list(figure.subplots(lines, columns, squeeze=False, **shared).flat)
