"""What stage evaluate compares: the found network, random ones and rivals, trained alike and tested once.

The retrained models are what is delivered; whether the search helped, and what a baseline lost, is told by these.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.architecture import Architecture
from winnow.data.loaders import Split
from winnow.measure import cost
from winnow.run import files, tested
from winnow.run.beside import Pair, no_worse, over_seeds, random_search, sd
from winnow.run.children import initial
from winnow.run.compared import Network, compared
from winnow.run.controls import controls
from winnow.run.front import read_front, said
from winnow.run.limits import Limits
from winnow.run.rivals import Rival, rivals
from winnow.run.searches import other_finds, random_find
from winnow.run.study_cell import Stage
from winnow.run.tradeoff import LATENCY, cost_of
from winnow.run.verdict import Alike, nothing_compared, verdict
from winnow.run.work import Work, final_space
from winnow.train.building import fresh, laid


@dataclass
class Compared:
    """`told` is for reports/evaluate.json.

    `models` are those of the first seed of its front, then its rivals, then random ones where milliseconds are drawn.
    """

    told: dict[str, Any]
    test: Split
    models: list[nn.Module] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Tested:
    """A network's score, and what each test row counts in it (None where the score is no mean over rows)."""

    score: float
    counted: Tensor | None
    params: int
    macs: int


def judged(work: Work, arch: Architecture, *stages: Stage) -> Compared:
    """Of the found `arch`; `stages` are the mains of search and select, for further searches.

    The test split is opened here, after everything is trained.
    """
    params, seeds = work.params, work.params.retrain.seeds
    others = other_finds(work, arch, *stages)
    random = controls(params, work.folder, (arch, *others))
    held = rivals(params, work.folder)
    menu = read_front(params, work.folder, final_space(params, work.folder))
    if not random and not held and not menu:
        told = {**nothing_compared(params.evaluate.controls), **_controls([], []), "against": [], "front": []}
        return Compared(told, work.split("test"))
    sought = random_find(work, *stages) if random else None
    groups = {
        "found": [Network(arch, seed) for seed in seeds],
        "others": [Network(other, seeds[0]) for other in others],
        "controls": [Network(control, seeds[0]) for control in random],
        "sought": [] if sought is None else [Network(sought, seed) for seed in seeds],
        **{f"front {i}": [Network(each, seed) for seed in seeds] for i, (_, each) in enumerate(menu)},
        **{f"against {r.name}": [Network.of(r.arch, seed, r.params, params) for seed in seeds] for r in held},
    }
    kept = [groups[f"front {i}"][0] for i in range(len(menu))] + [groups[f"against {rival.name}"][0] for rival in held]
    kept += groups["controls"] if cost_of(params) == LATENCY else []
    tests, test, models = _tests(work, [network for group in groups.values() for network in group], kept)
    of = {name: [tests[network] for network in group] for name, group in groups.items()}
    itself = {rival.name for rival in held if groups[f"against {rival.name}"] == groups["found"]}
    rows = [_beside(work, each, of["found"], of[f"against {each.name}"], each.name in itself) for each in held]
    beside = None if sought is None else random_search(sought.digest, _pair(work, of["found"], of["sought"]))
    limits = Limits.of(params, work.folder) if random else None
    within = limits.describe() if limits else None
    told = {
        **_against_random(work, of, within or ""),
        "found_scores": [each.score for each in of["found"]],
        "finds": [each.digest for each in (arch, *others)],
        "find_scores": [each.score for each in (of["found"][0], *of["others"])],
        "limits": within,
        **_controls(random, of["controls"]),
        "random_search": beside,
        "against": rows,
        "front": [_of_front(work, row, of[f"front {i}"]) for i, (row, _) in enumerate(menu)],
    }
    return Compared(told, test, [models[network] for network in kept])


def _tests(
    work: Work, networks: Sequence[Network], kept: Sequence[Network]
) -> tuple[dict[Network, Tested], Split, dict[Network, nn.Module]]:
    """All of `networks`, each trained once; the test split; and the models of those in `kept`."""
    trained, tests = list(dict.fromkeys(networks)), {}
    models: dict[Network, nn.Module] = {}
    with compared(work, trained) as paths:
        test = work.split("test")
        for network, path in zip(trained, paths, strict=True):
            space = final_space(network.params(work.params), work.folder)
            assert space.example is not None
            model = fresh(space, network.arch, work.device, initial(network.seed))
            files.load_state(model, files.read_tensors(path, "evaluate")[0], path)
            model = laid(model).eval()
            found = tested.outputs(model, test, work.params.evaluate.batch)
            score, counted = tested.score(work.task, found, test), tested.counted(work.task, found, test)
            tests[network] = Tested(score, counted, cost.params(model), cost.macs(model, space.example))
            models |= {network: model} if network in kept else {}
    return tests, test, models


def _against_random(work: Work, of: Mapping[str, Sequence[Tested]], within: str) -> dict[str, Any]:
    if not of["controls"]:
        return nothing_compared(work.params.evaluate.controls)
    scores = {name: [each.score for each in of[name]] for name in ("found", "others", "controls")}
    answers = _stacked([*of["found"], *of["others"], *of["controls"]])
    alike = Alike(scores["found"], scores["others"], scores["controls"], answers, work.task.first)
    return verdict(alike, work.params.evaluate.searches, within)


def _beside(work: Work, rival: Rival, found: Sequence[Tested], other: Sequence[Tested], itself: bool) -> dict[str, Any]:
    """The row of a rival in `against`, without its latency; `itself`: it is the found network."""
    sizes = {"MACs": (found[0].macs, other[0].macs), "params": (found[0].params, other[0].params)}
    inherits = [each.retrain.from_ == "inherited" for each in (work.params, rival.params)]
    apart = ""
    if inherits[0]:
        alone = "both from what the search trained, and it may reach more when it is trained alone"
        apart = alone if inherits[1] else f"it from {rival.params.begins}, the found one from what was searched"
    shares = {what: ours / its for what, (ours, its) in sizes.items() if its}
    return {
        "name": rival.name,
        "architecture": rival.arch.digest if rival.arch else None,  # a network as it is decides nothing
        "params": other[0].params,
        "macs": other[0].macs,
        "params_share": shares.get("params"),
        "macs_share": shares.get("MACs"),
        **over_seeds([each.score for each in other], work.task.first),
        "begins": rival.params.begins,
        **no_worse(rival.name, _pair(work, found, other), shares, work.params.evaluate.margin, itself, apart),
    }


def _of_front(work: Work, row: Mapping[str, Any], tests: Sequence[Tested]) -> dict[str, Any]:
    """The row of an entry of select.front, `row` as stage select wrote it, without its latency."""
    return {
        "name": said(row["limits"]),
        "limits": row["limits"],
        "architecture": row["digest"],
        "choices": row["choices"],
        "params": tests[0].params,
        "macs": tests[0].macs,
        **over_seeds([each.score for each in tests], work.task.first),
    }


def _pair(work: Work, found: Sequence[Tested], other: Sequence[Tested]) -> Pair:
    sides = _stacked(found), _stacked(other)
    here, there = ([each.score for each in side] for side in (found, other))
    return Pair(here, there, None if sides[0] is None else sides, work.task.first)


def _stacked(tests: Sequence[Tested]) -> Any:
    """(networks, rows), or None where the metric is no mean over rows."""
    kept = [each.counted for each in tests if each.counted is not None]
    return torch.stack(kept).numpy() if kept else None


def _controls(random: Sequence[Architecture], tests: Sequence[Tested]) -> dict[str, Any]:
    """The random networks as they were drawn, with their sizes."""
    scores, params, macs = ([getattr(each, name) for each in tests] for name in ("score", "params", "macs"))
    return {
        "control_score_mean": statistics.fmean(scores) if scores else None,
        "control_score_sd": sd(scores),
        "control_n": len(scores),
        "control_scores": scores,
        "controls": [each.digest for each in random],
        "control_params": params,
        "control_macs": macs,
        "control_params_mean": statistics.fmean(params) if params else None,
        "control_macs_mean": statistics.fmean(macs) if macs else None,
    }
