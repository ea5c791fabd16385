"""Pictures of architectures and spaces."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from winnow.core.decision import Decision, Value
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.look.blocks import WIDEST, Block, cell_block, legend_block, rows_block
from winnow.look.branches import branches_block, members_of
from winnow.look.cells import Cell, find_cells
from winnow.look.nodes import nodes_block
from winnow.look.stacks import stacks_block, stacks_of
from winnow.look.style import canvas, palette, styled, to_bytes
from winnow.run.files import atomic
from winnow.spaces.nb101_cells import NODES, cell_of

MARGIN, BETWEEN = 16, 40


def draw_architecture(space: Space, arch: Mapping[str, Value]) -> Figure:
    """What was found: cells as graphs where the names of the decisions are those of cells, ensembles as branches,
    multi-branch cells as stacks, cells of NAS-Bench-101 as boxes, the rest as rows.

    Decisions "3<-1" (or "normal/3<-1") are edges of a cell whose nodes sum; "normal/2" choosing among "normal/2/0",
    "normal/2/1", ... is a node that keeps some of its edges. ValueError where `arch` is of another space.
    """
    space.check(arch)
    return draw_choices(space.decisions, arch)


def draw_space(space: Space) -> Figure:
    """What can be found: every edge of every cell, and every option of every decision."""
    return draw_choices(space.decisions, None)


def save(figure: Figure, path: Path) -> None:
    """Write the figure whole, as SVG or PNG by its suffix; the same figure gives the same bytes."""
    kind = path.suffix.removeprefix(".")
    if kind not in ("svg", "png"):
        raise Refused(f"a drawing is written as .svg or .png, not {path.name!r}")
    content = to_bytes(figure, kind)
    with atomic(path) as temporary:
        temporary.write_bytes(content)


@styled()
def draw_choices(
    decisions: Mapping[str, Decision], choices: Mapping[str, Value] | None, highlight: frozenset[str] = frozenset()
) -> Figure:
    """As `draw_architecture`, from plain data; None for `choices` leaves all open. Edges in `highlight` stand out."""
    cells, others = find_cells(decisions, choices)
    colours = palette(option for d in decisions.values() for option in d.options)
    rows = _side_by_side([cell_block(cell, colours, highlight) for cell in cells])
    if cells:
        rows += _legends(cells, colours)
    if choices is None:
        uneven = [cell for cell in cells if len({edge.options for edge in cell.edges}) > 1]
        others = [decisions[edge.decision] for cell in uneven for edge in cell.edges] + others
    others = [d for d in others if choices is None or d.name in choices]
    if choices is not None and NODES in choices:
        rows.append([_boxes(choices, colours)])
        others = [d for d in others if not d.name.startswith("cell/")]
    if parts := members_of(choices or {}):
        drawn = {name for part in parts.values() for _, name in part.values()}
        rows.append([branches_block(parts, colours)])
        others = [d for d in others if d.name not in drawn]
    if stages := stacks_of(decisions, choices or {}):
        drawn = {each.name for cells_of in stages.values() for each in cells_of}
        rows.append([stacks_block(stages, colours)])
        others = [d for d in others if d.name not in drawn]
    if others:
        rows.append([rows_block(others, choices, colours, "other decisions" if cells else "decisions")])
    return _assemble(rows)


def _boxes(choices: Mapping[str, Value], colours: Mapping[str, str]) -> Block:
    live = cell_of(choices)
    gone = int(str(choices[NODES])) - live.nodes
    note = "a box takes the sum of what comes in; the output joins it, and the input is projected wherever it leads"
    if gone:
        note += f"; {gone} {'node that leads' if gone == 1 else 'nodes that lead'} nowhere left out"
    return nodes_block(live.ops, live.edges, colours, note)


def _side_by_side(blocks: list[Block]) -> list[list[Block]]:
    """One row where they fit beside each other, else one below the other."""
    together = sum(block.width for block in blocks) + BETWEEN * (len(blocks) - 1)
    return [blocks] if blocks and together <= WIDEST else [[block] for block in blocks]


def _legends(cells: list[Cell], colours: Mapping[str, str]) -> list[list[Block]]:
    edges = [edge for cell in cells for edge in cell.edges]
    options = list(dict.fromkeys(option for edge in edges for option in edge.options))
    open_cell = any(edge.op is None for edge in edges)
    used = set(options) if open_cell else {edge.op for edge in edges if edge.op}
    return [[legend_block("an edge takes one of" if open_cell else "options", options, colours, used)]]


def _assemble(rows: list[list[Block]]) -> Figure:
    widths = [sum(block.width for block in row) + BETWEEN * (len(row) - 1) for row in rows]
    heights = [max(block.height for block in row) for row in rows]
    figure, axes = canvas(max(widths) + 2 * MARGIN, sum(heights) + 14 * (len(rows) - 1) + 2 * MARGIN)
    y: float = MARGIN
    for row, height in zip(rows, heights, strict=True):
        x: float = MARGIN
        for block in row:
            block.paint(axes, x, y)
            x += block.width + BETWEEN
        y += height + 14
    return figure
