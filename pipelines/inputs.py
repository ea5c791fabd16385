"""Stage inputs: looks at what params.yaml names outside winnow; writes artifacts/inputs/<who reads it>.json.

DVC runs it each time (it takes a second), and the stages depend on what it writes: what a user brings is not seen by
`deps`, which name code and files of the project alone. The same files tell what the strategy and the selections that
run are made of, what networks begin with, and recipe.json how they are trained: nothing else that could be chosen
makes a stage run again.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

from dataclasses import asdict
from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.run.fingerprint import code_digest
from winnow.run.imports import on_path
from winnow.run.lineage import record_of, runs_of, stale
from winnow.run.outside import INPUTS, PIPELINE, code_of, digest, named
from winnow.search.methods import tries
from winnow.search.selections import retrains
from winnow.tracking.spool import write_json

TRAINS = ("training", "federated")  # evaluators of trials that train by section retrain


def main(params: Params, folder: Path) -> None:
    on_path(folder)
    every = [each for each in named(params, folder) if each.group in PIPELINE]
    found = {each.key: digest(each, folder) for each in every}
    for group in PIPELINE:
        told = {each.key: found[each.key] for each in every if each.group == group}
        write_json(folder / INPUTS / f"{group}.json", told | code_of(params, group) | _retraining(params, group))
    write_json(folder / INPUTS / "recipe.json", _recipe(params))
    write_json(folder / INPUTS / "code.json", {"winnow": code_digest()})  # for projects that have no code of winnow's
    named_once = {each.key: each for each in every}  # a task is looked at by two groups
    for key, each in named_once.items():
        print(f"  {key}  {each.value}  {found[key][:12]}")
    print(_verdict(params, folder, list(named_once)))


def _recipe(params: Params) -> dict[str, Any]:
    """How networks are retrained, and by which clients where there are any."""
    federation = params.retrain.federation
    told = {} if federation is None else {"federation": federation.model_dump(mode="json")}
    return asdict(params.retrain.recipe()) | told


def _trials(params: Params) -> dict[str, Any]:
    """How the trials of a search train, where they do."""
    from winnow.config.methods import strategy  # torch, for which others do not wait
    from winnow.config.plans import recipe_of_trials, tried
    from winnow.search.strategy import TRIALS

    if TRIALS not in strategy(params.search.strategy).leaves or tried(params).evaluator not in TRAINS:
        return {}
    return {"retrain": _recipe(params) | asdict(recipe_of_trials(params))}


def _retraining(params: Params, group: str) -> dict[str, Any]:
    """What stages have of section retrain: how trials of a search train; what networks begin with, which select makes
    a file of; some selections train them.
    """
    if group == "search" and tries(params.search.strategy):
        return _trials(params)
    if group != "select":
        return {}
    recipe = _recipe(params) if any(map(retrains, params.select.methods)) else {}
    return {"retrain.from": params.retrain.from_} | ({"retrain": recipe} if recipe else {})


def _verdict(params: Params, folder: Path, keys: list[str]) -> str:
    """What has changed since the stages ran, and which of them it touches."""
    ran = [name for name in runs_of(params) if record_of(folder, name)]
    touched = {name: changed for name in ran if (changed := stale(params, folder, name))}
    if touched:
        named = ", ".join(dict.fromkeys(key for keys in touched.values() for key in keys))
        return f"inputs: {named} changed since {', '.join(touched)}, which `dvc repro` runs again with what follows"
    if not keys:
        return "inputs: params.yaml names nothing outside winnow: up to date"
    if not ran:
        return f"inputs: {', '.join(keys)} written down; no stage has read them here yet"
    return f"inputs: {', '.join(keys)} unchanged since the stages read them: up to date"


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("inputs")
