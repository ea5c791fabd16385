"""A pipeline small enough for a test, run once: every stage, no tracking, a second or two each.

On digits and with DARTS, whatever the shipped params.yaml runs first.
"""

from pathlib import Path

import yaml

from winnow.config.params import Params
from winnow.config.reading import check_params
from winnow.pipelines import evaluate, inputs, prepare, retrain, search, tune
from winnow.pipelines import select as selecting

ROOT = Path(__file__).parents[2]
TINY = {
    "runtime.threads": 1,
    "runtime.workers": 1,
    "data.source": "digits",
    "data.limit_train": 320,
    "data.augment": {},
    "space.nas_bench_201.channels": 4,
    "search.strategy": "darts",
    "search.epochs": 2,
    "search.batch": 32,
    "search.lr": 0.1,
    "select.methods": ["perturbation", "magnitude"],
    "select.perturbation.tune_epochs": 1,
    "select.evolution.population": 4,
    "select.evolution.generations": 1,
    "select.evolution.parents": 2,
    "select.calibration_images": 64,
    "select.evolution.calibration_images": 64,
    "study.methods": {name: {"search.strategy": name} for name in ("darts", "beta_darts", "blank")},
    "tune.trials": 2,
    "tune.epochs": 1,
    "trials.executor": "inline",
    "retrain.seeds": [0, 1],
    "retrain.epochs": 2,
    "retrain.batch": 32,
    "evaluate.controls": 2,
    "evaluate.searches": 1,
    "evaluate.latency_repeats": 6,
    "evaluate.latency_seconds": 0.0,
    "tracking.enabled": False,
}


def tiny(**changes: object) -> Params:
    """The project's own params.yaml with `TINY` and then `changes`; "__" in a keyword stands for a dot."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, value in {**TINY, **{name.replace("__", "."): value for name, value in changes.items()}}.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    return check_params(content)


def run_all(params: Params, folder: Path) -> Path:
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump()))
    inputs.main(params, folder)
    prepare.main(params, folder)
    search.main(params, folder)
    selecting.main(params, folder)
    tune.main(params, folder)
    for seed in params.retrain.seeds:
        retrain.main(params, folder, seed)
    evaluate.main(params, folder)
    return folder
