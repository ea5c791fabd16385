"""How well reduced trainings order networks as the full one does (EcoNAS: Zhou et al. 2020, arXiv:2001.01233).

Random networks of the space are each trained in every setting, and in the full one once more from another seed: no
setting can be expected to order them better than the full training orders itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from winnow.config.params import Params
from winnow.config.plans import recipe_of_trials
from winnow.core.choosers import distinct
from winnow.core.errors import Refused
from winnow.data.storage import read_manifest
from winnow.measure import rank
from winnow.run import files
from winnow.run.fingerprint import fingerprint
from winnow.run.trials import worker_params
from winnow.run.work import choose_device, final_space
from winnow.tasks import task_named
from winnow.tracking import state_folder
from winnow.train.seeds import derived, rng
from winnow.trials.engine import run
from winnow.trials.executors import Executor, Inline
from winnow.trials.outcome import COMPLETE
from winnow.trials.plan import Plan
from winnow.trials.processes import Processes
from winnow.trials.ranges import read_ranges
from winnow.trials.reduce import Reduction
from winnow.trials.search import SpaceSearch
from winnow.trials.table import Row
from winnow.trials.worker import evaluator

FEWEST = 5  # networks: below that an interval says nothing
ALIKE = 0.1  # settings whose work differs by no more of the larger are compared with each other
FACTORY = "winnow.run.evaluators:reduction"
MEASURES: dict[str, rank.Measure] = {"spearman": rank.spearman, "kendall": rank.kendall_tau}


@dataclass(frozen=True)
class Consistency:
    """`rows`, one a setting, with intervals over `networks`; `pairs`, settings of equal work against each other."""

    full: str
    networks: int
    failed: int  # networks without a value in some setting: left out of all
    rows: list[dict[str, float | str]]
    pairs: list[dict[str, float | str]]


def consistency(
    params: Params,
    folder: Path,
    settings: Sequence[str],
    full: str,
    networks: int,
    *,
    workers: int = 1,
    seed: int = 0,
    resamples: int = 1000,
    say: Callable[[str], None] = lambda text: None,
) -> Consistency:
    """Train `networks` random networks in each of `settings` and in `full`, twice, and compare the orders.

    What was trained is kept in .winnow/trials, a study a setting: killed anywhere, the same command goes on, and with
    another setting it trains that alone. Refused for what is no setting, for more networks than the space has, and
    where too few could be trained in all settings.
    """
    columns = list(dict.fromkeys([full, f"{full}'", *settings]))
    for name in columns:
        Reduction.of(name)
    if networks < FEWEST:
        raise Refused(f"an order takes {FEWEST} networks or more to be compared, not {networks}")
    archs = _networks(params, folder, networks, seed)
    task = task_named(params.task)
    found: dict[str, dict[int, Row]] = {}
    for name in columns:  # what one of them lacks is said before the first trains
        evaluator(FACTORY, {**_made(params, folder, archs, name), "device": "cpu"})
    for name in columns:
        say(f"training {networks} networks as {name}")
        rows = _trained(params, folder, archs, name, workers, seed)
        found[name] = {json.loads(row.parameters)["network"]: row for row in rows if row.state == COMPLETE}
    both = [n for n in range(networks) if all(n in of for of in found.values())]
    if len(both) < FEWEST:
        error = next(row.error for row in rows if row.state != COMPLETE)
        raise Refused(f"{len(both)} of {networks} networks were trained in all settings: too few to compare ({error})")
    scores = {name: np.array([task.score(of[n].metrics) for n in both]) for name, of in found.items()}
    spent = {name: {key: _spent(of, both, key) for key in ("work", "seconds")} for name, of in found.items()}
    return compared(scores, spent, networks, seed, resamples)


def compared(
    scores: Mapping[str, np.ndarray],
    spent: Mapping[str, Mapping[str, float]],
    networks: int,
    seed: int = 0,
    resamples: int = 1000,
) -> Consistency:
    """`scores` by setting, the full one first; larger is better. `spent` is what all networks took: work, seconds."""
    full, *others = scores
    truth, whole = scores[full], spent[full]
    draws = np.random.default_rng(derived(seed, "consistency", "bootstrap"))
    rows = []
    pairs: list[dict[str, float | str]] = []
    for name in others:
        row: dict[str, float | str] = {"setting": name, "n": float(len(truth))}
        for measure, function in MEASURES.items():
            of = rank.bootstrap(function, scores[name], truth, draws, resamples)
            row |= {measure: of.value, f"{measure}_low": of.low, f"{measure}_high": of.high}
        rows.append(
            row | {key: value / whole[key] if whole[key] else float("nan") for key, value in spent[name].items()}
        )
    for a, b in combinations([name for name in others if not name.endswith("'")], 2):
        if abs(spent[a]["work"] - spent[b]["work"]) <= ALIKE * max(spent[a]["work"], spent[b]["work"]):
            of = rank.difference(rank.spearman, scores[a], scores[b], truth, draws, resamples)
            told = f"{a} is better" if of.low > 0 else f"{b} is better" if of.high < 0 else "cannot tell"
            pairs.append({"pair": f"{a} - {b}", "spearman": of.value, "low": of.low, "high": of.high, "told": told})
    return Consistency(full, len(truth), networks - len(truth), rows, pairs)


def _networks(params: Params, folder: Path, count: int, seed: int) -> list[str]:
    """Different random networks of the space, as JSON."""
    drawn = distinct(final_space(params, folder), rng(seed, "consistency", "networks"), count)
    if len(drawn) < count:
        raise Refused(
            f"{len(drawn)} different networks were drawn of space {params.space.name}, not {count}: ask for fewer"
        )
    return [arch.to_json() for arch in drawn]


def _trained(params: Params, folder: Path, archs: list[str], setting: str, workers: int, seed: int) -> list[Row]:
    """The study of one setting."""
    goal = task_named(params.task)
    plan = Plan(
        {goal.metric: goal.first.goal},
        sampler="brute_force",
        look_back=workers,
        seed=derived(seed, "consistency", setting),
    )
    device = choose_device(params)
    made = _made(params, folder, archs, setting)
    basis = {
        "networks": archs,
        "recipe": asdict(recipe_of_trials(params)),
        "space": params.space.model_dump(mode="json"),
        "retrain.space": params.retrain.model_dump(mode="json")["space"],
        "splits": {name: of["digest"] for name, of in read_manifest(folder / files.SPLITS)["splits"].items()},
        "augmentation": params.data.augment,
        "runtime": params.runtime.arithmetic(),
    }
    name = f"consistency-{setting.replace(chr(39), 'again')}-{fingerprint(basis=basis, seed=seed, setting=setting)}"
    executor: Executor
    if workers == 1:
        executor = Inline(evaluator(FACTORY, {**made, "device": str(device)}), str(device))
    else:
        executor = Processes(FACTORY, {**made, "device": device.type}, workers)
    return run(
        plan,
        SpaceSearch(None, read_ranges({"network": {"choices": list(range(len(archs)))}})),
        executor,
        where=str(state_folder(folder) / "trials" / f"{name}.log"),
        name=name,
        n_trials=len(archs),
        evaluator=basis,
    )


def _made(params: Params, folder: Path, archs: list[str], setting: str) -> dict[str, Any]:
    return {"folder": str(folder.resolve()), "params": worker_params(params), "networks": archs, "setting": setting}


def _spent(of: Mapping[int, Row], both: Sequence[int], key: str) -> float:
    return sum(of[n].seconds if key == "seconds" else of[n].metrics[key] for n in both)
