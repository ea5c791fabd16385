"""A layered drawing of a small acyclic graph, after Sugiyama: columns by depth, few crossings, nothing overlaps."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GAP = 30  # pixels between two columns
APART = 10  # pixels between two neighbours of a column


@dataclass(eq=False)
class Place:
    """Something that takes room: a node, the label of a link, or (without a label) the passage of a long link."""

    label: str | None
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0
    before: list["Place"] = field(default_factory=list)
    after: list["Place"] = field(default_factory=list)


@dataclass(frozen=True)
class Link:
    source: int
    target: int
    label: str | None = None
    label_width: float = 0.0


@dataclass(frozen=True)
class Layout:
    """`nodes` by number; `routes[i]` leads from the source of link i to its target, through its label and passages."""

    nodes: dict[int, Place]
    routes: list[list[Place]]
    width: float
    height: float


def layered(nodes: dict[int, tuple[float, float]], links: Sequence[Link], label_height: float = 20) -> Layout:
    """Positions, from (0, 0), for nodes of the given (width, height) and for the labels of links, left to right.

    A link's label stands in the column just before its target. Links lead from lower to higher numbers.
    """
    layer: dict[int, int] = {}
    for node in sorted(nodes):
        sources = [layer[link.source] for link in links if link.target == node]
        layer[node] = 1 + max(sources) if sources else 0
    columns: list[list[Place]] = [[] for _ in range(2 * max(layer.values()) + 1)]  # even: nodes, odd: labels
    placed = {node: Place(str(node), *size) for node, size in nodes.items()}
    for node, place in placed.items():
        columns[2 * layer[node]].append(place)
    routes = []
    for link in links:
        end = 2 * layer[link.target] - 1
        stops = [Place(None, 0, 6) for _ in range(2 * layer[link.source] + 1, end)]
        stops.append(Place(link.label, link.label_width, label_height if link.label else 6))
        for column, stop in zip(columns[2 * layer[link.source] + 1 :], stops, strict=False):
            column.append(stop)
        route = [placed[link.source], *stops, placed[link.target]]
        for a, b in pairwise(route):
            a.after.append(b)
            b.before.append(a)
        routes.append(route)
    _order(columns)
    width = _set_x(columns)
    height = _set_y(columns)
    return Layout(placed, routes, width, height)


def _order(columns: list[list[Place]]) -> None:
    """Sort every column so that links cross little: barycentres, then swaps of neighbours, keeping the best seen."""
    best, fewest = [list(column) for column in columns], _crossings(columns)
    for sweep in range(24):
        forward = sweep % 2 == 0
        for column in columns[1:] if forward else columns[-2::-1]:
            rank = {id(p): i for other in columns for i, p in enumerate(other)}
            column.sort(key=lambda p: _mean([rank[id(q)] for q in (p.before if forward else p.after)], rank[id(p)]))
        _swap(columns)
        if (now := _crossings(columns)) < fewest:
            best, fewest = [list(column) for column in columns], now
    for column, order in zip(columns, best, strict=True):
        column[:] = order


def _swap(columns: list[list[Place]]) -> None:
    for column in columns:
        for i in range(len(column) - 1):
            before = _crossings(columns)
            column[i], column[i + 1] = column[i + 1], column[i]
            if _crossings(columns) >= before:
                column[i], column[i + 1] = column[i + 1], column[i]


def _crossings(columns: list[list[Place]]) -> int:
    total = 0
    for left, right in pairwise(columns):
        rank = {id(p): i for i, p in enumerate(right)}
        ends = [sorted(rank[id(q)] for q in p.after) for p in left]
        flat = [(i, end) for i, each in enumerate(ends) for end in each]
        total += sum(a[0] < b[0] and a[1] > b[1] for a in flat for b in flat)
    return total


def _set_x(columns: list[list[Place]]) -> float:
    x = 0.0
    for column in columns:
        width = max(place.width for place in column)
        for place in column:
            place.x = x + width / 2
            if place.label is None:
                place.width = width  # a passage goes straight past its column
        x += width + GAP
    return x - GAP


def _set_y(columns: list[list[Place]]) -> float:
    """Pull every place to the middle of its neighbours, as far as its column leaves room."""
    for column in columns:
        _spread(column, [0.0] * len(column))
    for _ in range(60):
        for column in (*columns, *reversed(columns)):
            _spread(column, [_mean([q.y for q in p.before + p.after], p.y) for p in column])
    top = min(place.y - place.height / 2 for column in columns for place in column)
    for place in (place for column in columns for place in column):
        place.y -= top
    return max(place.y + place.height / 2 for column in columns for place in column)


def _spread(column: list[Place], wanted: list[float]) -> None:
    """The nearest positions to those wanted (least squares) that keep the order and the distances of a column."""
    offset, offsets = 0.0, [0.0]
    for above, below in pairwise(column):
        offset += (above.height + below.height) / 2 + APART
        offsets.append(offset)
    blocks: list[list[float]] = []  # pooled neighbours that would otherwise overlap: [sum, count]
    for want, offset in zip(wanted, offsets, strict=True):
        blocks.append([want - offset, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, count = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += count
    levels = [total / count for total, count in blocks for _ in range(int(count))]
    for place, level, offset in zip(column, levels, offsets, strict=True):
        place.y = level + offset


def _mean(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
