"""Stage search: reads splits weights and arch; writes artifacts/search and curves.

A strategy that trains a supernet leaves supernet.safetensors and logits.json there, strategy trials trials.parquet.
"""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

import shutil
from pathlib import Path
from typing import Any

import torch

from winnow.core.space import Space
from winnow.data.loaders import Batches
from winnow.pipelines.search_trials import search_by_trials
from winnow.search.methods import METHODS
from winnow.search.objective import cross_entropy
from winnow.stage import files
from winnow.stage.params import Params
from winnow.stage.progress import Shown
from winnow.stage.study import CURVE
from winnow.stage.work import Work, augmentation, search_space, working
from winnow.train.seeds import derived, generator, seeded

WEIGHTS = ("epoch", "decision", "option", "weight")


def main(params: Params, folder: Path) -> None:
    with working("search", params, folder, splits=("weights", "arch"), upstream=("prepare",)) as work:
        shutil.rmtree(folder / files.SEARCH, ignore_errors=True)  # what another strategy left
        inherits = params.search.strategy == "trials" and params.search.trials.evaluator == "inherited"
        metrics: dict[str, float] = {}
        if params.search.strategy != "trials" or inherits:
            metrics = train_supernet(work, "spos" if inherits else params.search.strategy)
        else:
            files.write_rows(folder / files.REPORTS / "search.csv", [], ("epoch", "train_loss"))
            files.write_rows(folder / files.REPORTS / "weights.csv", [], WEIGHTS)
        if params.search.strategy == "trials":
            metrics |= search_by_trials(work)
        else:
            files.write_rows(folder / files.REPORTS / "trials.csv", [], CURVE)
        files.write_json(folder / files.REPORTS / "search.json", metrics)
        work.say(f"  wrote {files.SEARCH}; next: winnow select")


def train_supernet(work: Work, strategy: str) -> dict[str, float]:
    """Train a supernet of the space by `strategy` and write it; the last losses."""
    params, folder = work.params, work.folder
    settings = params.search.model_copy(update={"strategy": strategy})
    seed = derived(params.seed, "search")
    batches = {}
    for name in ("weights", "arch"):
        split = work.split(name)
        order = generator(seed, "batches", name)
        augment = augmentation(params, split)
        batches[name] = Batches(split, settings.batch, augment=augment, generator=order, channels_last=True)
    with seeded(derived(seed, "initialise")):
        space = search_space(params, folder)
    space.to(work.device, memory_format=torch.channels_last)
    with Shown(work.run) as watch, seeded(derived(seed, "train")):
        watch.start(f"search ({strategy})", settings.epochs * len(batches["weights"]))
        logits = METHODS[strategy](
            space,
            batches["weights"],
            batches["arch"],
            objective=cross_entropy(space, settings.precision),
            seed=seed,
            watch=watch,
            **settings.recipe(),
        )
    return _write(work, space, strategy, logits, watch)


def _write(work: Work, space: Space, strategy: str, logits: Any, watch: Shown) -> dict[str, float]:
    folder, params = work.folder, work.params
    about = {"space": params.space.name, "space_digest": space.digest, "strategy": strategy}
    files.write_tensors(folder / files.SUPERNET, space.state_dict(), about)
    vectors = {} if logits is None else {name: vector.tolist() for name, vector in logits.items()}
    options = {name: list(space.decisions[name].options) for name in vectors}
    files.write_json(folder / files.LOGITS, {"options": options, "logits": vectors})
    files.write_rows(folder / files.REPORTS / "search.csv", watch.rows)
    rows = [
        {"epoch": row["epoch"], "decision": row["decision"], "option": option, "weight": weight}
        for row in watch.weights
        for option, weight in zip(space.decisions[row["decision"]].options, row["weights"], strict=True)
    ]
    files.write_rows(folder / files.REPORTS / "weights.csv", rows, WEIGHTS)
    last = watch.rows[-1]
    metrics = {name: last[name] for name in ("train_loss", "valid_loss") if name in last}
    for path in (files.SUPERNET, files.LOGITS, files.REPORTS / "search.csv", files.REPORTS / "weights.csv"):
        work.run.artifact(folder / path)
    if watch.weights:
        work.picture("mixture_weights", "weights_over_time", rows)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    work.say(f"trained a supernet of {params.space.name} with {strategy}: {shown}")
    return metrics


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("search")
