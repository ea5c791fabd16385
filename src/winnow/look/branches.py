"""The drawing of an ensemble: the layers that members share, and each member's own from the split on."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from matplotlib.axes import Axes

from winnow.core.decision import Value
from winnow.look.blocks import TITLE, Block
from winnow.look.style import FAINT, INK, QUIET, pill, text_width

ROW, GAP, FORK = 34, 6, 22
SKIPS = ("skip", "identity", "skip_connect")
_LAYER = re.compile(r"layer(\d+)/(shared|member\d+)")


def members_of(choices: Mapping[str, Value]) -> dict[str, dict[int, tuple[str, str]]]:
    """By part, "shared" first: what is taken in each layer, and the decision that says so. Empty without members."""
    found: dict[str, dict[int, tuple[str, str]]] = {"shared": {}}
    for name, value in choices.items():
        if match := _LAYER.fullmatch(name):
            found.setdefault(match[2], {})[int(match[1])] = (str(value), name)
    found = {part: found[part] for part in ["shared", *sorted(set(found) - {"shared"})]}
    return found if "split" in choices and any(found.values()) else {}


def branches_block(
    parts: Mapping[str, Mapping[int, tuple[str, str]]], colours: Mapping[str, str], skips: Iterable[str] = SKIPS
) -> Block:
    """Left to right: a row for what is shared, from which one for each member goes on; dashed layers are left out."""
    layers = sorted({layer for part in parts.values() for layer in part})
    wide = max(text_width(op, 8.5) for part in parts.values() for op, _ in part.values()) + 10
    members = {part: own for part, own in parts.items() if part != "shared"}
    shared = parts["shared"]
    rows = max(1, len(members))
    names = max(text_width(part) for part in parts) + 12
    note = "members share all layers and end in heads of their own" if not members else "their answers are averaged"
    if any(op in skips for part in parts.values() for op, _ in part.values()):
        note += "; dashed layers are left out"

    forks = bool(shared) and bool(members)
    apart = min((min(own) for own in members.values()), default=max(layers) + 1)

    def middle(layer: int) -> float:
        return names + (layers.index(layer) + 0.5) * (wide + GAP) + (FORK if forks and layer >= apart else 0)

    def row_of(axes: Axes, x: float, y: float, own: Mapping[int, tuple[str, str]]) -> None:
        for a, b in pairwise(sorted(own)):
            axes.plot([x + middle(a), x + middle(b)], [y, y], color=FAINT, linewidth=1.2, zorder=1)
        for layer, (op, _) in own.items():
            gone = op in skips
            style = (0, (4, 3)) if gone else "-"
            pill(axes, x + middle(layer), y, wide, op, colours.get(op, FAINT), kept=not gone, style=style)

    def paint(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + 10, "ensemble", size=10.5, weight="bold", color=INK, va="center")
        top, trunk = y + TITLE + 12, y + TITLE + 12 + (rows - 1) * ROW / 2
        for number, (part, own) in enumerate(members.items()):
            at = top + number * ROW
            if shared:
                ends = [x + middle(max(shared)) + wide / 2, x + middle(min(own)) - wide / 2]
                axes.plot(ends, [trunk, at], color=FAINT, linewidth=1.2, zorder=1)
            row_of(axes, x, at, own)
            axes.text(x + middle(max(own)) + wide / 2 + GAP, at, part, size=8, color=QUIET, va="center_baseline")
        row_of(axes, x, trunk, shared)
        axes.text(x, trunk, "shared", size=9, color=INK, va="center_baseline")
        axes.text(x, top + rows * ROW, note, size=8, color=QUIET, va="center")

    width = names + len(layers) * (wide + GAP) + forks * FORK + text_width("member1", 8) + 2 * GAP
    return Block(max(width, text_width(note, 8)), TITLE + rows * ROW + 30, paint)
