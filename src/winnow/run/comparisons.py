"""What the cells of a study say together.

A score belongs to a space and has a unit: nothing here adds scores of two spaces, or of two units. What is compared is
paired by seed within a space; ranks, which have no unit, are the one thing taken over all of them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from winnow.measure.judgement import CANNOT_TELL, FEWEST, NO, YES, foreseeable_gap, mean_interval

Rows = Sequence[Mapping[str, Any]]
Name = tuple[str, str]  # method and selection: a combination
ANY = (-math.inf, math.inf)  # a table's column may have any unit


@dataclass(frozen=True)
class Gain:
    """What one combination gains over another of the same space, over the seeds that both have.

    `low` and `high` bound the mean at 95 % by themselves; None below three pairs. `outcome` says whether it is better,
    at 5 % over all comparisons of the space together (Holm 1979); `detectable` is the gain that would have been seen in
    four cases of five.
    """

    space: str
    method: str
    selection: str
    over: Name
    mean: float
    low: float | None
    high: float | None
    n: int
    detectable: float | None
    outcome: str


def done(rows: Rows) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["score"] is not None]


def named(row: Mapping[str, Any]) -> Name:
    return row["method"], row["selection"]


def summary(rows: Rows) -> list[dict[str, Any]]:
    """One row a combination over its seeds, spaces in order and the best first: mean ± sd, n, collapses, failures."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["space"], row["method"], row["selection"]), []).append(row)
    found = [_group(*key, members) for key, members in groups.items()]
    spaces = list(dict.fromkeys(row["space"] for row in rows))
    return sorted(found, key=lambda row: (spaces.index(row["space"]), -row["mean"] if row["n"] else math.inf))


def _group(space: str, method: str, selection: str, members: Rows) -> dict[str, Any]:
    whole = done(members)
    scores = [row["score"] for row in whole]

    def mean(name: str) -> float | None:
        return statistics.fmean(row[name] for row in whole) if whole else None

    return {
        "space": space,
        "unit": members[0]["unit"],
        "method": method,
        "selection": selection,
        "mean": statistics.fmean(scores) if scores else None,
        "sd": statistics.stdev(scores) if len(scores) > 1 else None,
        "n": len(scores),
        "failed": len(members) - len(scores),
        "parameter_free": mean("parameter_free"),
        "collapsed": sum(bool(row["collapse"]) for row in whole),
        "params": mean("params"),
        "seconds": sum(row["seconds"] for row in whole),
    }


def ranks(rows: Rows) -> tuple[dict[str, float], int, float]:
    """Mean rank (1 is best, ties share) of each "method, selection" over complete blocks (space and seed), the blocks,
    and the critical difference of Nemenyi's test at 5 % (Demšar 2006); infinite below two blocks.
    """
    blocks: dict[tuple[str, int], dict[Name, float]] = {}
    for row in done(rows):
        blocks.setdefault((row["space"], row["seed"]), {})[named(row)] = row["score"]
    names = list(dict.fromkeys(named(row) for row in rows))
    complete = [block for block in blocks.values() if len(block) == len(names)]
    if not complete:
        return {}, 0, math.inf
    total = dict.fromkeys(names, 0.0)
    for block in complete:
        for name in names:
            better = sum(score > block[name] for score in block.values())
            equal = sum(score == block[name] for score in block.values())
            total[name] += better + (equal + 1) / 2
    count = len(complete)
    mean = {", ".join(name): value / count for name, value in total.items()}
    return mean, count, critical_difference(len(names), count)


def critical_difference(combinations: int, blocks: int) -> float:
    """The difference of mean ranks that Nemenyi's test asks for at 5 %; infinite where it can find none."""
    if blocks < 2 or combinations < 2:
        return math.inf
    from scipy.stats import studentized_range  # heavy, and needed once a study

    q = float(studentized_range.ppf(0.95, combinations, math.inf)) / math.sqrt(2)
    return q * math.sqrt(combinations * (combinations + 1) / 6 / blocks)


def baseline_of(rows: Rows, wanted: str | None) -> Name:
    """The combination that others are compared with: "method, selection" as asked for, else the first."""
    names = {", ".join(named(row)): named(row) for row in reversed(rows)}
    return named(rows[0]) if wanted is None else names[wanted]


def gains(rows: Rows, baseline: Name) -> list[Gain]:
    """Of each space: every other combination against `baseline`; and of each other method, every other selection
    against that of `baseline` on the same supernets. Pairs are of one seed.
    """
    found = []
    for space in dict.fromkeys(row["space"] for row in rows):
        scores: dict[Name, dict[int, float]] = {}
        for row in done(rows):
            if row["space"] == space:
                scores.setdefault(named(row), {})[row["seed"]] = row["score"]
        pairs = [(name, over) for name in scores for over in _rivals(name, baseline) if over in scores]
        found += _judged(space, [(name, over, _paired(scores[name], scores[over])) for name, over in pairs])
    return found


def _rivals(name: Name, baseline: Name) -> list[Name]:
    """What `name` is compared with: the baseline, and the baseline's selection after its own method."""
    if name == baseline:
        return []
    own = [(name[0], baseline[1])] if name[0] != baseline[0] and name[1] != baseline[1] else []
    return [baseline, *own]


def _paired(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    return [a[seed] - b[seed] for seed in a if seed in b]


def _judged(space: str, compared: list[tuple[Name, Name, list[float]]]) -> list[Gain]:
    tested = [(name, over, pairs) for name, over, pairs in compared if pairs]
    seen = _holm([_chance(pairs) for _, _, pairs in tested])
    found = []
    for (name, over, pairs), significant in zip(tested, seen, strict=True):
        mean, interval = statistics.fmean(pairs), mean_interval(pairs, ANY)
        outcome = (YES if mean > 0 else NO) if significant else CANNOT_TELL
        gap = foreseeable_gap(statistics.stdev(pairs), len(pairs)) if interval else None
        low, high = (interval.low, interval.high) if interval else (None, None)
        found.append(Gain(space, *name, over, mean, low, high, len(pairs), gap, outcome))
    return found


def _chance(pairs: list[float]) -> float:
    """Two-sided p of Student's paired test; 1 where there are too few pairs.

    Pairs that are all equal, as of two architectures found again and again, are judged by their signs: they have no
    spread to reckon with, and that is no certainty.
    """
    if len(pairs) < FEWEST:
        return 1.0
    mean, sd = statistics.fmean(pairs), statistics.stdev(pairs)
    if sd == 0:
        return 2 * 0.5 ** len(pairs) if mean else 1.0
    from scipy.stats import t

    return 2 * float(t.sf(abs(mean) / sd * math.sqrt(len(pairs)), len(pairs) - 1))


def _holm(chances: list[float]) -> list[bool]:
    """Which of several tests hold at 5 % together (Holm 1979): the least likely first, until one does not."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    found, holds = [False] * len(chances), True
    for place, i in enumerate(order):
        holds = holds and chances[i] <= 0.05 / (len(chances) - place)
        found[i] = holds
    return found


def power(seeds: int, combinations: int, spaces: int) -> list[str]:
    """What a study of so many seeds will be able to see, before it runs; a sentence each."""
    factor = foreseeable_gap(1.0, seeds)
    if factor is None:
        return [f"{seeds} seeds show no interval and decide nothing: give study.seeds {FEWEST} or more"]
    told = [
        f"{seeds} seeds see a gain of {factor:.1f} standard deviations of a paired difference in four cases of five "
        f"(where pairs differ by 2 points: {2 * factor:.1f} points)"
    ]
    if combinations > 2:
        needed = critical_difference(combinations, seeds * spaces)
        told.append(
            f"mean ranks over {seeds * spaces} blocks must differ by {needed:.2f} of at most {combinations - 1}"
        )
    return told


def leaders(rows: Rows) -> str:
    """The best of each space, ties named."""
    table, parts = summary(rows), []
    for space in dict.fromkeys(row["space"] for row in rows):
        whole = [row for row in table if row["space"] == space and row["n"]]
        parts.append(_leaders(space, whole, rows) if whole else f"{space}: no cell was finished.")
    return " ".join(parts)


def verdict(rows: Rows, baseline: Name) -> str:
    """The best of each space, ties named; what each gains over the baseline; what failed."""
    parts = []
    table, every = summary(rows), gains(rows, baseline)
    for space in dict.fromkeys(row["space"] for row in rows):
        whole = [row for row in table if row["space"] == space and row["n"]]
        if not whole:
            parts.append(f"{space}: no cell was finished.")
            continue
        parts.append(_leaders(space, whole, rows))
        parts += [_told(gain) for gain in every if gain.space == space]
    if failed := sum(row["failed"] for row in table):
        parts.append(f"{failed} of {len(rows)} cells failed; their combinations have fewer seeds.")
    return " ".join(parts)


def _leaders(space: str, whole: list[dict[str, Any]], rows: Rows) -> str:
    first = [row for row in whole if row["mean"] == whole[0]["mean"]]
    sd = first[0]["sd"]
    figures = (
        f"{first[0]['mean']:.2f}{f' ± {sd:.2f}' if sd is not None else ''} ({first[0]['unit']}, n = {first[0]['n']})"
    )
    names = " and ".join(f"{row['method']} with {row['selection']}" for row in first)
    if len(first) == 1:
        return f"{space}: the best is {names}: {figures}."
    members = [{r["digest"] for r in done(rows) if r["space"] == space and named(r) == named(row)} for row in first]
    why = "the same architectures" if all(each == members[0] for each in members) else "other architectures"
    return f"{space}: equal at the top ({why}) are {names}: {figures}."


def _told(gain: Gain) -> str:
    name = f"{gain.method} with {gain.selection}"
    over = " with ".join(gain.over)
    if gain.low is None:
        return f"{name} over {over}: {gain.mean:+.2f} (n = {gain.n}): cannot tell, an interval takes {FEWEST} seeds."
    interval = f"{gain.mean:+.2f}, 95 % interval {gain.low:+.2f} to {gain.high:+.2f}, n = {gain.n}"
    seen = f"; {gain.detectable:.2f} would have been seen" if gain.outcome == CANNOT_TELL else ""
    word = {YES: "better", NO: "worse", CANNOT_TELL: "cannot tell"}[gain.outcome]
    return f"{name} over {over}: {word} ({interval}{seen})."
