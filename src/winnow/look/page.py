"""Pieces of a page of HTML that needs no network and no script: text, tables, figures."""

import html
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from winnow.look.style import to_bytes

LEAST = 0.75  # of its own size: labels of 8.5 points are still read
SCROLLS = 640  # pixels that a wider drawing keeps on a narrow screen, as STYLE says

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --quiet: #5f6b7a; --rule: #e1e6eb; --ground: #fff; --raised: #f4f6f8;
  --marked: #fdf3e7; --link: #0072b2; --alarm: #c0392b }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --quiet: #a3aebb; --rule: #37424e; --ground: #161b21;
  --raised: #212931; --marked: #3a3122; --link: #6cb8ea; --alarm: #ff8a7a } .figure { background: #fff; padding: .5rem;
  border-radius: 6px } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1000px;
  margin: 2rem auto; padding: 0 1rem } h1 { font-size: 1.5rem; overflow-wrap: anywhere }
h2 { font-size: 1.15rem; margin: 2.2rem 0
  .5rem; border-top: 1px solid var(--rule); padding-top: 1.2rem } svg { max-width: 100%; height: auto; display: block }
.figure { overflow-x: auto; margin: .6rem 0 } .quiet { color: var(--quiet) } .numbers { display: flex; flex-wrap: wrap;
  gap: .8rem 2.4rem; margin: 1rem 0 } .numbers b { display: block; font-size: 1.25rem }
.verdict { font-size: 1.1rem; padding: .7rem 1rem; border-left: 4px solid #8a94a0; background: var(--raised);
  overflow-wrap: anywhere }
.verdict.yes { border-color: #009e73 } .verdict.no { border-color: #d55e00 } .verdict.open { border-color: #e69f00 }
.alarm { color: var(--alarm); font-weight: 600 } table { border-collapse: collapse; font-size: .9rem; margin: .6rem 0;
  display: block; overflow-x: auto } td, th { padding: .25rem .8rem .25rem 0; text-align: left; border-bottom: 1px solid
  var(--rule); vertical-align: top } td.n { text-align: right; font-variant-numeric: tabular-nums } tr.differs td {
  background: var(--marked) } pre { font-size: .85rem; overflow: auto } summary { cursor: pointer; color: var(--link) }
.beside { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); gap: 1rem }
.beside > div { border: 1px solid var(--rule); border-radius: 6px; padding: .6rem; min-width: 0 }
.beside p { margin: .2rem 0 }
@media (max-width: 640px) { .figure > svg { max-width: none; min-width: 640px } .beside .figure > svg { min-width: 0;
  max-width: 100% } }
"""


NARROW = "<svg style='min-width: 0; max-width: 100%'"


def document(title: str, body: str) -> str:
    """A whole page, light or dark as its reader has it; drawings keep their light ground."""
    head = "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
    return f"<!doctype html>\n<html lang='en'>{head}<title>{text(title)}</title><style>{STYLE}</style>\n{body}</html>\n"


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], marked: Sequence[bool] = ()) -> str:
    head = "".join(f"<th>{text(name)}</th>" for name in heads)
    lines = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{text(value)}</td>" for value in row)
        lines.append(f"<tr class='differs'>{cells}</tr>" if marked and marked[i] else f"<tr>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def svg(figure: Figure, told: str = "") -> str:
    return inline(to_bytes(figure, "svg").decode(), told)


def inline(svg: str, told: str = "") -> str:
    """In a frame of its own, which scrolls where a screen is narrower than can be read.

    `told` is a drawing's text alternative: that of one with many labels, which shrinks to three quarters at most. None
    is made larger than it is.
    """
    drawn = svg[svg.index("<svg") :]
    width = re.match(r"<svg[^>]*? width=\"([\d.]+)pt\"", drawn)
    if not told:
        narrow = width is not None and float(width[1]) * 4 / 3 < SCROLLS
        return f"<div class='figure'>{drawn.replace('<svg', NARROW, 1) if narrow else drawn}</div>"
    if width:
        least = float(width[1]) * 4 / 3 * LEAST
        drawn = drawn.replace("<svg", f"<svg style='min-width: {least:.0f}px'", 1)
    return f"<div class='figure' role='group' tabindex='0' aria-label='{text(told)}'>{drawn}</div>"


def text(value: object) -> str:
    return html.escape(str(value))
