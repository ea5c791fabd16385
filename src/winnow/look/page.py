"""Pieces of a page of HTML: text, tables, figures."""

import html
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from winnow.look.style import to_bytes


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], marked: Sequence[bool] = ()) -> str:
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{text(value)}</td>" for value in row)
        lines.append(f"<tr class='differs'>{cells}</tr>" if marked and marked[i] else f"<tr>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def svg(figure: Figure) -> str:
    return inline(to_bytes(figure, "svg").decode())


def inline(svg: str) -> str:
    return svg[svg.index("<svg") :]


def text(value: object) -> str:
    return html.escape(str(value))
