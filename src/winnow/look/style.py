"""One quiet style for every figure: light ground, colours that colour-blind readers can tell apart, equal bytes."""

import contextlib
import io
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

DPI = 100  # a figure of 10 inches is 1000 pixels wide
INK, QUIET, FAINT, RULE, PAPER = "#1f2933", "#5f6b7a", "#9aa5b1", "#e1e6eb", "#ffffff"
ACCENT, CONTROL, ALARM = "#0072b2", "#8a94a0", "#c0392b"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9", "#332288", "#882255", "#117733", "#999933")
COLOURS = {  # by family: blues compute, greens dilate, warm colours pool, purple passes on, grey passes nothing
    "none": FAINT,
    "skip_connect": "#aa4499",
    "nor_conv_1x1": "#56b4e9",
    "nor_conv_3x3": "#0072b2",
    "sep_conv_3x3": "#0072b2",
    "sep_conv_5x5": "#332288",
    "dil_conv_3x3": "#009e73",
    "dil_conv_5x5": "#117733",
    "max_pool_3x3": "#d55e00",
    "avg_pool_3x3": "#e69f00",
    "noise": "#882255",
}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": QUIET,
    "axes.labelsize": 9,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": cycler(color=SERIES),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the layout is the same on every machine
    "font.size": 9,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "svg.fonttype": "none",  # text stays text: small, searchable, readable aloud
    "svg.hashsalt": "winnow",
    "text.color": INK,
    "text.parse_math": False,  # a class called "$" is no formula
    "xtick.color": QUIET,
    "xtick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.color": QUIET,
    "ytick.labelsize": 8.5,
    "ytick.major.size": 0,
}


@contextlib.contextmanager
def styled() -> Iterator[None]:
    """Inside, matplotlib draws in this style; also a decorator. Glyphs missing here are left to the reader's fonts."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def sheet(width: float, height: float) -> Figure:
    """An empty figure of so many pixels, owned by nobody else (no pyplot)."""
    figure = Figure((width / DPI, height / DPI), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one bare set of axes whose units are pixels from the top left."""
    figure = Figure((width / DPI, height / DPI))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


@styled()
def to_bytes(figure: Figure, kind: str) -> bytes:
    """The figure as "svg" or "png"; equal figures give equal bytes: no dates, no versions, no random ids."""
    dropped = ("Date", "Creator", "Format", "Type") if kind == "svg" else ("Software",)
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=dict.fromkeys(dropped))
    return file.getvalue()


def palette(options: Iterable[object]) -> dict[str, str]:
    """A colour for each option, by name where the operation is known, else in order."""
    names = list(dict.fromkeys(str(option) for option in options))
    unknown = [name for name in names if name not in COLOURS]
    free = [colour for colour in SERIES if colour not in {COLOURS.get(name) for name in names}] or list(SERIES)
    return {name: COLOURS.get(name) or free[unknown.index(name) % len(free)] for name in names}


def tint(colour: str, share: float) -> tuple[float, float, float]:
    """`share` of the colour, the rest white."""
    red, green, blue = matplotlib.colors.to_rgb(colour)
    return (1 - share * (1 - red), 1 - share * (1 - green), 1 - share * (1 - blue))


def text_width(text: str, size: float = 9) -> float:
    """About how many pixels the text takes, on the wide side."""
    return 0.62 * len(text) * size * DPI / 72


def shortened(text: str, most: int) -> str:
    """At most so many characters, cut in the middle: paths differ at both ends."""
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


def pill(
    axes: Axes, x: float, y: float, width: float, text: str, colour: str, *, kept: bool = True, **looks: Any
) -> None:
    """A labelled box centred on (x, y) in pixel units; one that is not kept is an outline that steps back."""
    height = looks.get("height", 20)
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2 + 5, y - height / 2 + 5),
            width - 10,
            height - 10,
            boxstyle="round,pad=5,rounding_size=5",
            facecolor=tint(colour, 0.16) if kept else PAPER,
            edgecolor=colour if kept else RULE,
            linewidth=looks.get("line", 1.2 if kept else 0.8),
            linestyle=looks.get("style", "-"),
            zorder=3,
        )
    )
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center_baseline",
        size=looks.get("size", 8.5),
        color=INK if kept else FAINT,
        zorder=4,
    )
