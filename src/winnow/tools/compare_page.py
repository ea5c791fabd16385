"""Runs side by side for people: lines for a terminal, and one page that needs nothing from outside."""

import base64
from collections.abc import Sequence
from typing import Any

from winnow.look import page
from winnow.look.side_by_side import side_by_side
from winnow.look.style import shortened
from winnow.run.headline import STYLES
from winnow.run.tradeoff import points
from winnow.run.verdict import verdicts
from winnow.tools.compare import UNSAID, Finished, came_out, choices_of, differing, remarks, same_test, task_of

Runs = Sequence[Finished]
WIDEST = 34  # characters of a column in a terminal
SHOWN = (
    "Large points are means of found networks, small ones their seeds, hollow ones random networks of the same run; "
    "within a run all are trained alike, by its recipe as it stands. Bars are 95 % intervals over seeds."
)


def compare_text(runs: Runs) -> str:
    """What differs, and what came out, as columns; then what keeps the runs from being compared, and the verdicts."""
    shared, own = differing(runs)
    heads = ["", *(run.name for run in runs)]
    lines = _columns([heads, *shared, ["" for _ in heads], *came_out(runs)])
    if not shared:
        lines.insert(1, "no parameter that all of them have differs")
    if own:
        names = sorted({".".join(row[0].split(".")[:2]) for row in own})
        lines.append(f"{len(own)} parameters that only some of them have are on the page: {', '.join(names)}")
    lines += remarks(runs)
    lines += [f"{run.name}: {sentence}" for run in runs for _, sentence in verdicts(run.result)]
    return "\n".join(lines) + "\n"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    short = [[shortened(cell, WIDEST) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in short]


def compare_page(runs: Runs) -> str:
    shared, own = differing(runs)
    heads, same, (first, *others) = ["", *(run.name for run in runs)], same_test(runs), remarks(runs)
    body = [
        f"<h1>{len(runs)} runs side by side</h1>",
        f"<p class='{'alarm' if same is False else 'quiet'}'>{page.text(first)}</p>",
        "<h2>What differs</h2>",
        page.table(heads, shared) if shared else "<p class='quiet'>No parameter that all of them have.</p>",
    ]
    if own:
        folded = page.table(heads, own)
        body.append(f"<details><summary>Parameters that only some have: {len(own)}</summary>{folded}</details>")
    body += ["<h2>What came out</h2>", _picture(runs), f"<p class='quiet'>{SHOWN}</p>"]
    body += [page.table(heads, came_out(runs)), *(f"<p class='quiet'>{page.text(each)}</p>" for each in others)]
    body += ["<h2>What each found</h2>", f"<div class='beside'>{''.join(map(_card, runs))}</div>", _answers(runs)]
    return page.document("winnow compare", "\n".join(body))


def _picture(runs: Runs) -> str:
    metric, metrics = task_of(runs).first, runs[0].result["metric"].replace("_", " ")
    panel: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        result = run.result
        *_, found = points(result, "macs", metric)
        scores = result.get("found_scores") or result["scores"]
        rows = [{**found, "score": score} for score in scores]
        drawn = zip(result["control_macs"], result["control_scores"], strict=True)
        panel[shortened(run.name, 40)] = rows + [{"cost": c, "score": s, "random": True} for c, s in drawn]
    unit = f", {metric.unit}" if metric.unit else ""
    told = f"Test {metrics} against multiply-accumulates of {', '.join(run.name for run in runs)}; numbers below"
    figure = side_by_side({f"test {metrics}{unit}": panel}, ("million multiply-accumulates", 1e6))
    return page.svg(figure, told)


def _card(run: Finished) -> str:
    """The verdicts, and what was found; a drawing is a picture of its own, so that nothing in a foreign file runs."""
    said = "".join(f"<p class='verdict {STYLES[how]}'>{page.text(what)}</p>" for how, what in verdicts(run.result))
    words = choices_of(run) or f"architecture {run.result['architecture']}; its answers are not told in words here"
    parts = [f"<b>{page.text(run.name)}</b>", said, f"<p class='quiet'>{page.text(words)}</p>"]
    if run.drawing:
        data = base64.b64encode(run.drawing.encode()).decode()
        picture = f"<img style='max-width: 100%' alt='{page.text(words)}' src='data:image/svg+xml;base64,{data}'>"
        parts.insert(2, f"<div class='figure'>{picture}</div>")
    return f"<div>{''.join(parts)}</div>"


def _answers(runs: Runs) -> str:
    """Decision by decision, those that differ marked; nothing where fewer than two runs tell."""
    told = [run for run in runs if run.choices]
    names = sorted(set().union(*(run.choices for run in told)))
    rows = [[name, *(_said(run.choices.get(name, UNSAID)) for run in told)] for name in names]
    differs = [len(set(row[1:])) > 1 for row in rows]
    if len(told) < 2:
        return ""
    return page.table(["decision", *(run.name for run in told)], rows, differs)


def _said(value: object) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)
