"""The study of methods and selections: its cells as parameters of their own, and what their results say together."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from winnow.core.errors import Refused
from winnow.measure.compare import Estimate, mean_interval
from winnow.search.pairs import objection
from winnow.stage.params import Params
from winnow.stage.reading import check_params

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Cell:
    """One combination, and the whole of the parameters that it runs with; `seed` is theirs too."""

    space: str
    method: str
    selection: str
    seed: int
    params: Params

    @property
    def name(self) -> str:
        return f"{self.space} {self.method} {self.selection} {self.seed}"


def combinations(params: Params, folder: Path) -> tuple[list[Cell], list[str]]:
    """The cells of `params.study`, those of one supernet beside one another, and why some combinations are left out.

    Cells run in folders of their own: files that they name by a path relative to `folder` become absolute.
    Refused, naming the cell, where its parameters make no sense, and where no cell is left.
    """
    study, cells, left_out = params.study, [], []
    plain = {"tracking": {**params.tracking.model_dump(), "enabled": False}}
    for seed in study.seeds:
        for space, of_space in study.spaces.items():
            for method, of_method in study.methods.items():
                for selection, of_selection in study.selections.items():
                    changes = {**of_space, **of_method, **of_selection, "seed": seed}
                    content = changed({**params.model_dump(), **plain}, changes)
                    content["select"]["table"] = _absolute(folder, content["select"]["table"])
                    subset = content["search"]["subset"]
                    content["search"]["subset"] = {**subset, "pretrained": _absolute(folder, subset["pretrained"])}
                    strategy, chosen = content["search"]["strategy"], content["select"]["methods"]
                    if reason := next(filter(None, (objection(strategy, each) for each in chosen)), None):
                        left_out.append(f"{space} {method} {selection}: {reason}")
                        continue
                    cells.append(Cell(space, method, selection, seed, check_params(content, f"study, {method}")))
    if not cells:
        raise Refused(f"study: no combination means anything; {left_out[0]}")
    return cells, list(dict.fromkeys(left_out))


def _absolute(folder: Path, path: str | None) -> str | None:
    return None if path is None else str((folder / path).resolve())


def changed(content: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested `content` with `changes` by dotted key. Refused where there is no such key."""
    result: dict[str, Any] = {name: dict(v) if isinstance(v, Mapping) else v for name, v in content.items()}
    for key, value in changes.items():
        place = result
        *sections, last = key.split(".")
        for section in sections:
            if not isinstance(place.get(section), Mapping):
                raise Refused(f"study: params.yaml has no section {section!r}, as in {key!r}")
            place[section] = dict(place[section])
            place = place[section]
        if last not in place:
            raise Refused(f"study: params.yaml has no key {key!r}")
        place[last] = value
    return result


def summary(rows: Rows) -> list[dict[str, Any]]:
    """One row a combination over its seeds, best first: mean ± sd of the score, n, and how often it collapsed."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["space"], row["method"], row["selection"]), []).append(row)
    found = []
    for (space, method, selection), members in groups.items():
        scores = [row["score"] for row in members]
        found.append(
            {
                "space": space,
                "method": method,
                "selection": selection,
                "mean": statistics.fmean(scores),
                "sd": statistics.stdev(scores) if len(scores) > 1 else None,
                "n": len(scores),
                "parameter_free": statistics.fmean(row["parameter_free"] for row in members),
                "collapsed": sum(bool(row["collapse"]) for row in members),
                "params": statistics.fmean(row["params"] for row in members),
                "seconds": sum(row["seconds"] for row in members),
            }
        )
    return sorted(found, key=lambda row: (row["space"], -row["mean"]))


def ranks(rows: Rows) -> tuple[dict[str, float], int, float]:
    """Mean rank (1 is best, ties share) of each "method, selection" over complete blocks (space and seed), the blocks,
    and the critical difference of Nemenyi's test at 5 % (Demšar 2006); infinite below two blocks.
    """
    blocks: dict[tuple[str, int], dict[str, float]] = {}
    for row in rows:
        blocks.setdefault((row["space"], row["seed"]), {})[f"{row['method']}, {row['selection']}"] = row["score"]
    names = list(dict.fromkeys(name for block in blocks.values() for name in block))
    complete = [block for block in blocks.values() if len(block) == len(names)]
    if not complete:
        return {}, 0, math.inf
    total = dict.fromkeys(names, 0.0)
    for block in complete:
        for name in names:
            better = sum(score > block[name] for score in block.values())
            equal = sum(score == block[name] for score in block.values())
            total[name] += better + (equal + 1) / 2
    count, k = len(complete), len(names)
    difference = math.inf
    if count > 1 and k > 1:
        from scipy.stats import studentized_range  # heavy, and needed once a study

        difference = float(studentized_range.ppf(0.95, k, math.inf)) / math.sqrt(2) * math.sqrt(k * (k + 1) / 6 / count)
    return {name: value / count for name, value in total.items()}, count, difference


def gains(rows: Rows, over: str) -> dict[str, Estimate]:
    """Of each other selection, what it gains over selection `over` on the same supernets: mean with its interval."""
    scores = {(row["space"], row["method"], row["seed"], row["selection"]): row["score"] for row in rows}
    paired: dict[str, list[float]] = {}
    for (*supernet, selection), score in scores.items():
        if selection != over and (*supernet, over) in scores:
            paired.setdefault(selection, []).append(score - scores[*supernet, over])
    return {selection: mean_interval(found) for selection, found in paired.items()}


def verdict(rows: Rows, score: str) -> str:
    """The best combination of each space, and whether selection mattered on equal supernets."""
    parts = []
    for space in dict.fromkeys(row["space"] for row in rows):
        first = next(row for row in summary(rows) if row["space"] == space)
        spread = f" ± {first['sd']:.2f}" if first["sd"] is not None else ""
        parts.append(
            f"{space}: the best is {first['method']} with {first['selection']}: {first['mean']:.2f}{spread} "
            f"({score}, n = {first['n']})."
        )
    baseline = "magnitude" if any(row["selection"] == "magnitude" for row in rows) else rows[0]["selection"]
    for selection, gain in gains(rows, baseline).items():
        interval = f"95 % interval {gain.low:+.2f} to {gain.high:+.2f}, " if gain.n > 1 else ""
        told = f"({interval}n = {gain.n})"
        if gain.n < 2 or gain.low <= 0 <= gain.high:
            parts.append(f"On the same supernets {selection} against {baseline}: {gain.mean:+.2f} {told}, undecided.")
        else:
            word = "gains" if gain.mean > 0 else "loses"
            parts.append(f"On the same supernets {selection} {word} {abs(gain.mean):.2f} over {baseline} {told}.")
    return " ".join(parts)
