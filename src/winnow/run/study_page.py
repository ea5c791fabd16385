"""reports/study.html: methods side by side on one page, with intervals, verdicts, costs, and what each found."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.core.decision import Decision
from winnow.look import page
from winnow.look.side_by_side import side_by_side
from winnow.look.standings import standings
from winnow.measure.judgement import CANNOT_TELL, mean_interval
from winnow.run.comparisons import ANY, Gain, done, named
from winnow.run.draw import draw_choices
from winnow.run.progress import duration

Rows = Sequence[Mapping[str, Any]]
DRAWN = 3  # architectures of one combination, the best first
OUTCOMES = {"yes": "better", "no": "worse", "cannot tell": "cannot tell"}


@dataclass(frozen=True)
class Study:
    """What a study left, as its stage has it.

    `rows` are cells, `table` and `gains` what `run.comparisons` makes of them; `leaders` names the best of each space.
    `bounds` are those of a score. `decisions` are of each space, to draw by; `notes` are sentences on what a score is.
    """

    rows: Rows
    table: Rows
    gains: Sequence[Gain]
    leaders: str
    baseline: tuple[str, str]
    ranked: tuple[Mapping[str, float], int, float]
    decisions: Mapping[str, Mapping[str, Decision]]
    notes: Sequence[str]
    bounds: tuple[float, float] = ANY

    def name(self, row: Mapping[str, Any] | tuple[str, str]) -> str:
        """Of a combination; of its method alone where all have one selection."""
        method, selection = row if isinstance(row, tuple) else named(row)
        return method if len({each["selection"] for each in self.rows}) == 1 else f"{method}, {selection}"


def study_page(study: Study) -> str:
    """The whole page; a study of which nothing was finished says why."""
    finished, seeds = done(study.rows), len({row["seed"] for row in study.rows})
    body = [
        f"<h1>Study: {len(study.table)} combinations, {seeds} seed{'s' if seeds > 1 else ''}</h1>",
        f"<p class='verdict'>{page.text(' '.join([study.leaders, *_outcomes(study)]))}</p>",
    ]
    if finished:
        body.append(page.svg(side_by_side(_panels(study), ("million multiply-accumulates", 1e6))))
    body.append(_table(study))
    body += [f"<p class='quiet'>{page.text(note)}</p>" for note in study.notes]
    if finished:
        body.append(f"<h2>Every seed, and mean ranks</h2>{page.svg(standings(study.rows, *study.ranked))}")
        body.append(f"<h2>What each found</h2>{_found(study)}")
    if failed := [row for row in study.rows if row["error"]]:
        cells = [[r["space"], r["method"], r["selection"], str(r["seed"]), r["error"]] for r in failed]
        heads = ["space", "method", "selection", "seed", "why"]
        body.append(f"<h2>What failed</h2>{page.table(heads, cells)}")
    return page.document("winnow study", "\n".join(body))


def _outcomes(study: Study) -> list[str]:
    """How many are better and worse than the baseline, a sentence a space."""
    told = []
    for space in dict.fromkeys(row["space"] for row in study.rows):
        beside = [gain.outcome for gain in study.gains if gain.space == space and gain.over == study.baseline]
        counts = [f"{beside.count(outcome)} {word}" for outcome, word in OUTCOMES.items()]
        if beside:
            where = f"{space}: beside" if len({row["space"] for row in study.rows}) > 1 else "Beside"
            told.append(f"{where} {study.name(study.baseline)}, {', '.join(counts)}.")
    return told


def _panels(study: Study) -> dict[str, dict[str, list[dict[str, Any]]]]:
    panels: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in done(study.rows):
        points = panels.setdefault(f"{row['space']}: {row['unit']}", {}).setdefault(study.name(row), [])
        points.append({"cost": row["macs"], "score": row["score"]})
    for points in (points for panel in panels.values() for points in panel.values()):
        interval = mean_interval([point["score"] for point in points], study.bounds)
        ends = {"low": interval.low if interval else None, "high": interval.high if interval else None}
        points[:] = [{**point, **ends} for point in points]
    return panels


def _table(study: Study) -> str:
    beside = {(g.space, g.method, g.selection): g for g in study.gains if g.over == study.baseline}
    macs: dict[tuple[str, str, str], list[float]] = {}
    for row in done(study.rows):
        macs.setdefault((row["space"], *named(row)), []).append(row["macs"])
    cells = []
    for row in study.table:
        key = (row["space"], *named(row))
        spread = f" ± {row['sd']:.2f}" if row["sd"] is not None else ""
        cells.append(
            [
                row["space"],
                study.name(row),
                f"{row['mean']:.2f}{spread}" if row["n"] else "–",
                f"{row['n']}",
                "this is it" if named(row) == study.baseline else _gain(beside.get(key)),
                f"{statistics.fmean(macs[key]) / 1e6:.3g}" if key in macs else "–",
                f"{row['params']:,.0f}" if row["n"] else "–",
                duration(row["seconds"] / row["n"]) if row["n"] else "–",
                " and ".join(f"{row[what]} {what}" for what in ("collapsed", "failed") if row[what]) or "–",
            ]
        )
    against = f"beside {study.name(study.baseline)}"
    heads = ["space", "combination", "mean ± sd", "n", against, "M MACs", "params", "a cell", "remarks"]
    note = (
        "<p class='quiet'>Means over seeds; in brackets 95 % intervals, and the gain that would have been seen in four "
        "cases of five. Time is of this machine, with the supernet in the first cell on it.</p>"
    )
    return page.table(heads, cells) + note


def _gain(gain: Gain | None) -> str:
    if gain is None:
        return "–"
    ends = "" if gain.low is None else f" [{gain.low:+.2f}, {gain.high:+.2f}]"
    seen = f" ({gain.detectable:.2f})" if gain.outcome == CANNOT_TELL and gain.detectable is not None else ""
    return f"{OUTCOMES[gain.outcome]}: {gain.mean:+.2f}{ends}{seen}"


def _found(study: Study) -> str:
    """A card a different architecture: by whom, from which seeds, how good; the best of each combination first."""
    cards = []
    for space, decisions in study.decisions.items():
        of_space = [row for row in done(study.rows) if row["space"] == space]
        for combination in dict.fromkeys(map(study.name, of_space)):
            groups: dict[str, list[Mapping[str, Any]]] = {}
            for row in of_space:
                if study.name(row) == combination:
                    groups.setdefault(row["digest"], []).append(row)
            order = sorted(groups.values(), key=lambda group: -statistics.fmean(row["score"] for row in group))
            cards += [_card(combination, group, decisions) for group in order[:DRAWN]]
            if more := len(order) - DRAWN if len(order) > DRAWN else 0:
                cards.append(f"<div><b>{page.text(combination)}</b><p class='quiet'>and {more} more</p></div>")
    return f"<div class='beside'>{''.join(cards)}</div>"


def _card(combination: str, group: Rows, decisions: Mapping[str, Decision]) -> str:
    first = group[0]
    choices = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(first["architecture"]).items()}
    seeds = ", ".join(str(row["seed"]) for row in group)
    score = statistics.fmean(row["score"] for row in group)
    said = f"{score:.2f}, {first['macs'] / 1e6:.3g} M MACs, seed{'s' if len(group) > 1 else ''} {seeds}"
    drawn = page.svg(draw_choices(decisions, choices))
    return f"<div><b>{page.text(combination)}</b><p class='quiet'>{page.text(said)}</p>{drawn}</div>"
