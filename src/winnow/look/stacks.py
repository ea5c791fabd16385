"""The drawing of a multi-branch network: the cells of each stage, one after another, as stacks of what is on."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes

from winnow.core.decision import Decision, Value
from winnow.look.blocks import TITLE, Block
from winnow.look.style import FAINT, INK, QUIET, pill, text_width

SLOT, GAP = 26, 26  # pixels from one branch to the next below it, and between cells
NOTE = (
    "a cell is the mean of its branches; a line without an operation is its input, and a cell of that alone is left out"
)
_CELL = re.compile(r"(.+)/cell(\d+)")


class Stack(NamedTuple):
    """A cell: the decision, what is on, and whether its input is a branch too."""

    name: str
    branches: tuple[str, ...]
    passing: bool


def stacks_of(decisions: Mapping[str, Decision], choices: Mapping[str, Value]) -> dict[str, list[Stack]]:
    """By stage the cells "stage/cell1" ..., of which any number of operations may be on. Empty without such."""
    found: dict[str, list[tuple[int, Stack]]] = {}
    for name, d in decisions.items():
        value = choices.get(name)
        if (match := _CELL.fullmatch(name)) and d.least is not None and isinstance(value, tuple):
            stack = Stack(name, tuple(map(str, value)), d.least == 0)
            found.setdefault(match[1], []).append((int(match[2]), stack))
    return {stage: [stack for _, stack in sorted(cells)] for stage, cells in found.items()}


def stacks_block(stages: Mapping[str, list[Stack]], colours: Mapping[str, str]) -> Block:
    """A row a stage, left to right."""
    ops = {op for cells in stages.values() for each in cells for op in each.branches}
    wide = max((text_width(op, 8.5) for op in ops), default=0) + 12
    indent, step = max(map(text_width, stages)) + 24, wide + GAP
    highs = [max(max(len(_slots(each)) for each in cells), 1) * SLOT for cells in stages.values()]

    def cell(axes: Axes, left: float, middle: float, each: Stack) -> None:
        slots = _slots(each)
        for place, op in enumerate(slots):
            y = middle + (place - (len(slots) - 1) / 2) * SLOT
            xs, ys = [left, left + GAP / 2, left + GAP / 2 + wide, left + step], [middle, y, y, middle]
            axes.plot(xs, ys, color=FAINT, linewidth=1.2, zorder=1)
            if op:
                pill(axes, left + step / 2, y, wide, op, colours.get(op, FAINT), kept=True)

    def paint(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + 10, "multi-branch cells", size=10.5, weight="bold", color=INK, va="center")
        top = y + TITLE
        for (stage, cells), high in zip(stages.items(), highs, strict=True):
            middle = top + high / 2
            axes.text(x, middle, stage, size=9, color=INK, va="center_baseline")
            for number, each in enumerate(cells):
                cell(axes, x + indent + number * step, middle, each)
            top += high + 10
        axes.text(x, top + 8, NOTE, size=8, color=QUIET, va="center")

    width = indent + max(map(len, stages.values())) * step
    return Block(max(width, text_width(NOTE, 8)), TITLE + sum(highs) + 10 * len(highs) + 20, paint)


def _slots(each: Stack) -> list[str]:
    """What lies above one another: the input, if it passes, then the operations."""
    return ["", *each.branches] if each.passing else list(each.branches)
