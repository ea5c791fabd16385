"""The drawing of a cell whose operations stand on its nodes (NAS-Bench-101): boxes, and arrows between them."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch

from winnow.look.blocks import NODE, NOTE, TITLE, Block, curve
from winnow.look.layered import Link, layered
from winnow.look.style import FAINT, INK, QUIET, pill, text_width

ENDS = ("input", "output")


def nodes_block(
    ops: Sequence[str], feeds: Sequence[tuple[int, int]], colours: Mapping[str, str], note: str, title: str = "cell"
) -> Block:
    """Left to right: the input, a box for each of `ops`, the output; `feeds` (source, node) number them in that order.

    Sources have lower numbers than what they feed; `note` is a line below.
    """
    names = (ENDS[0], *ops, ENDS[1])
    sizes: dict[int, tuple[float, float]] = {i: (text_width(name, 8.5) + 16, NODE) for i, name in enumerate(names)}
    layout = layered(sizes, [Link(source, node) for source, node in feeds])

    def paint(axes: Axes, x: float, y: float) -> None:
        axes.text(x, y + 10, title, size=10.5, weight="bold", color=INK, va="center")
        for place in {id(p): p for route in layout.routes for p in route}.values():
            place.x, place.y = place.x + x, place.y + y + TITLE
        for (source, _), route in zip(feeds, layout.routes, strict=True):
            colour = colours.get(names[source], FAINT)
            axes.add_patch(PathPatch(curve(route), fill=False, edgecolor=colour, linewidth=1.4, zorder=1))
        for i, place in layout.nodes.items():
            pill(axes, place.x, place.y, place.width, names[i], colours.get(names[i], QUIET), kept=True)
        axes.text(x, y + TITLE + layout.height + 18, note, size=8, color=QUIET, va="center")

    return Block(max(layout.width, text_width(note, 8)), TITLE + layout.height + NOTE + 6, paint)
