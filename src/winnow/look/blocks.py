"""The parts of a drawing: cells as graphs, other decisions as rows of options, and the legend."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Circle, PathPatch
from matplotlib.path import Path as Curve

from winnow.core.decision import Decision, Value
from winnow.look.cells import Cell, Edge
from winnow.look.layered import Layout, Link, Place, layered
from winnow.look.style import FAINT, INK, PAPER, QUIET, RULE, pill, shortened, text_width

WIDEST = 1120  # pixels of a drawing before its parts go below each other
NODE = 30  # diameter in pixels
TITLE, NOTE = 34, 24
NECK = "neck"  # the kind of cell whose nodes are pyramids, all of them summed at its end


class Block(NamedTuple):
    """Something of (width, height) pixels that paints itself with its top left corner at (x, y)."""

    width: float
    height: float
    paint: Callable[[Axes, float, float], None]


def cell_block(cell: Cell, colours: Mapping[str, str], highlight: frozenset[str] = frozenset()) -> Block:
    """The cell's graph, left to right: circles are sums of what comes in, boxes the operations on the way."""
    names = _node_names(cell)
    nodes: dict[int, tuple[float, float]] = {
        node: (max(NODE, text_width(name) + 12), NODE) for node, name in names.items()
    }
    links = [_link(edge) for edge in cell.edges]
    if cell.joins:
        links += [Link(node, max(names)) for node in cell.nodes]
    layout = layered(nodes, links)
    note = _note(cell)

    def paint(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + 10, f"{cell.kind} cell".strip(), size=10.5, weight="bold", color=INK, va="center")
        axes.text(x, y + TITLE + layout.height + 18, note, size=8, color=QUIET, va="center")
        _paint_graph(axes, x, y + TITLE, cell, layout, names, colours, highlight)

    return Block(max(layout.width, text_width(note, 8)), TITLE + layout.height + NOTE + 6, paint)


def rows_block(
    decisions: Sequence[Decision], choices: Mapping[str, Value] | None, colours: Mapping[str, str], title: str
) -> Block:
    """One row a decision: its name and its options, those kept in colour; in columns where there are many."""
    names = [shortened(d.name, 34) for d in decisions]
    shown = [_options(d, choices) for d in decisions]
    name_width = max(map(text_width, names)) + 10
    columns = range(max(map(len, shown)))
    widths = [max(text_width(row[i][0], 8.5) + 14 for row in shown if i < len(row)) for i in columns]
    width = name_width + sum(widths) + 6 * len(widths)
    panels = max(1, min(int((WIDEST + 30) // (width + 30)), -(-len(names) // 8)))
    rows = -(-len(names) // panels)

    def paint(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + 10, title, size=10.5, weight="bold", color=INK, va="center")
        for i, (name, row) in enumerate(zip(names, shown, strict=True)):
            left, middle = x + (i // rows) * (width + 30), y + TITLE + 12 + (i % rows) * 26
            axes.text(left, middle, name, size=9, color=INK, va="center_baseline")
            left += name_width
            for (text, kept), wide in zip(row, widths, strict=False):
                pill(axes, left + wide / 2, middle, wide, text, colours.get(text, FAINT), kept=kept)
                left += wide + 6

    return Block(panels * (width + 30) - 30, TITLE + rows * 26, paint)


def legend_block(title: str, options: Sequence[str], colours: Mapping[str, str], used: set[str]) -> Block:
    """All options in their colours; those that nothing uses step back."""
    widths = [text_width(option, 8.5) + 14 for option in options]
    rows: list[list[int]] = [[]]
    for i, width in enumerate(widths):
        if sum(widths[j] + 6 for j in rows[-1]) + width > WIDEST - 130:
            rows.append([])
        rows[-1].append(i)
    indent = text_width(title) + 8

    def paint(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + 13, title, size=9, color=QUIET, va="center_baseline")
        for line, row in enumerate(rows):
            left = x + indent
            for i in row:
                option, centre = options[i], left + widths[i] / 2
                pill(axes, centre, y + 13 + 26 * line, widths[i], option, colours[option], kept=option in used)
                left += widths[i] + 6

    widest = max(sum(widths[i] + 6 for i in row) for row in rows)
    return Block(indent + widest, 26 * len(rows), paint)


def _link(edge: Edge) -> Link:
    return Link(edge.source, edge.node, edge.op, text_width(edge.op, 8.5) + 12 if edge.op else 0.0)


def _node_names(cell: Cell) -> dict[int, str]:
    """Where nodes choose edges: the two cells before, 0 and on, this cell's output. Else the numbers as they are."""
    if not cell.joins:
        return {node: str(node) for node in (*cell.inputs, *cell.nodes)}
    few = len(cell.inputs) <= 2
    before = ["cₖ₋₂", "cₖ₋₁"][2 - len(cell.inputs) :] if few else [f"in {node}" for node in cell.inputs]
    inner = {node: str(i) for i, node in enumerate(cell.nodes)}
    return {**dict(zip(cell.inputs, before, strict=True)), **inner, max(cell.nodes) + 1: "cₖ"}


def _note(cell: Cell) -> str:
    if cell.joins:
        decision = cell.edges[0].decision.rpartition("/")[0].rpartition("/")[0]
        return f"0 is {decision}/{cell.nodes[0]}, and so on; a node is the sum of its inputs, cₖ joins all nodes"
    passing = "; dashed edges pass nothing on" if any(edge.op == "none" for edge in cell.edges) else ""
    if cell.kind == NECK:
        given = f"0 is what the backbone gives; the sum of 1 to {cell.nodes[-1]} is the output"
        return f"{given}; a node is the sum of its inputs{passing}"
    return f"a node is the sum of its inputs; {cell.nodes[-1]} is the output{passing}"


def _options(d: Decision, choices: Mapping[str, Value] | None) -> list[tuple[str, bool]]:
    """(text, kept) for every option; only the kept ones and a count where there are too many to show."""
    value = choices.get(d.name, ()) if choices is not None else d.options
    kept = value if isinstance(value, tuple) else (value,)
    shown = [(str(option), option in kept) for option in d.options]
    if sum(text_width(text, 8.5) + 20 for text, _ in shown) <= WIDEST - 260:
        return shown
    return [*[each for each in shown if each[1]][:6], (f"of {len(shown)} options", False)]


def _paint_graph(
    axes: Axes,
    x: float,
    y: float,
    cell: Cell,
    layout: Layout,
    names: Mapping[int, str],
    colours: Mapping[str, str],
    highlight: frozenset[str],
) -> None:
    for place in {id(p): p for route in layout.routes for p in route}.values():
        place.x, place.y = place.x + x, place.y + y
    for route, edge in zip(layout.routes, [*cell.edges, *([None] * len(layout.routes))], strict=False):
        op = edge.op if edge else None
        colour = colours[op] if op else (FAINT if edge else RULE)
        style = (0, (4, 3)) if op == "none" else "-"
        looks = {"edgecolor": colour, "linewidth": 1.6 if op else 1.2, "linestyle": style}
        axes.add_patch(PathPatch(curve(route), fill=False, zorder=1, **looks))
        if op:
            box = route[-2]
            line = 2.4 if edge and edge.decision in highlight else 1.2
            pill(axes, box.x, box.y, box.width, op, colour, kept=op != "none", style=style, line=line)
    for node, place in layout.nodes.items():
        outside = node in cell.inputs or node == max(names)
        ground = RULE if outside else PAPER
        axes.add_patch(Circle((place.x, place.y), NODE / 2, facecolor=ground, edgecolor=INK, linewidth=1.2, zorder=3))
        axes.text(place.x, place.y, names[node], ha="center", va="center_baseline", size=9, weight="bold", zorder=4)


def curve(route: Sequence[Place]) -> Curve:
    """Straight past every stop, and a level start and end in between."""
    points, codes = [(route[0].x, route[0].y)], [Curve.MOVETO]
    for a, b in pairwise(route):
        start, end = a.x + a.width / 2, b.x - b.width / 2
        middle = (start + end) / 2
        points += [(start, a.y), (middle, a.y), (middle, b.y), (end, b.y), (b.x, b.y)]
        codes += [Curve.LINETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO]
    return Curve(points, codes)
