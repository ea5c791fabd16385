"""Stage retrain: reads architecture.json and the training splits; writes artifacts/retrain/<seed>/."""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

from pathlib import Path
from typing import Any

from winnow.config.params import Params
from winnow.run import files
from winnow.run.by_workers import Evaluate, done, in_worker, seeded
from winnow.run.checkpoint import checkpoints
from winnow.run.children import initial, train_child, training_split
from winnow.run.federation import ROUNDS, clients_of, told
from winnow.run.imports import on_path
from winnow.run.pool import pool
from winnow.run.processes import together
from winnow.run.progress import Shown
from winnow.run.revision import md5_of
from winnow.run.work import Work, about_model, choose_device, facts, final_space, recipe_of, working
from winnow.system.launched import Launch
from winnow.tracking import Run
from winnow.trust.provenance import provenance, tags, trained_by


def main(params: Params, folder: Path, seed: int, launch: Launch | None = None) -> None:
    splits = tuple(params.retrain.splits)
    name = f"retrain-{seed}"
    with (
        working("retrain", params, folder, splits=splits, upstream=("select", "tune"), name=name) as work,
        checkpoints(work, files.ARCHITECTURE, files.START, files.RECIPE, name=name, seed=seed) as keeper,
    ):
        space = final_space(params, folder)
        arch = files.read_architecture(folder / files.ARCHITECTURE, space, params.space.name)
        training = training_split(work)
        recipe, record = recipe_of(params, folder), list[dict[str, Any]]()
        with Shown(work.run) as watch, together(work, keeper, seed, launch), pool(work, arch, seed, recipe) as visits:
            what = f"retrain (seed {seed})"
            model = train_child(work, arch, training, seed, watch, what, keeper, recipe, visits=visits, record=record)
        path = files.retrained(seed)
        origin = provenance(params, folder, recipe, work.device, work.outside, *trained_by(params, launch))
        about = about_model(params, facts(params, folder), arch, training, seed, initial=initial(seed))
        about["provenance"] = origin
        files.write_tensors(folder / path, model.state_dict(), about)
        files.write_rows(folder / files.REPORTS / f"retrain/{seed}.csv", watch.rows)
        last = {f"train_{name}": value for name, value in watch.rows[-1].items() if name not in ("epoch", "lr")}
        files.write_table(folder / files.rounds(seed), record, ROUNDS)
        if params.retrain.federation is not None:
            last |= told(clients_of(params.retrain.federation, training))
            work.run.artifact(folder / files.rounds(seed))
        files.write_json(folder / files.REPORTS / f"retrain/{seed}.json", last)
        for name, value in (tags(origin, arch.digest) | {"winnow.model": md5_of(folder / path)}).items():
            work.run.tag(name, value)
        work.run.artifact(folder / path)
        work.run.artifact(folder / files.REPORTS / f"retrain/{seed}.csv")
        shown = [name for name in watch.rows[-1] if name != "epoch"]
        work.picture("learning_curves", "curves", {f"seed {seed}": watch.rows}, shown)
        text = work.task.texts({name.removeprefix("train_"): value for name, value in last.items()})
        work.say(f"retrained {arch.digest} from {params.begins}, seed {seed}: training {text}")
        work.say(f"  wrote {path}; next: winnow evaluate (after all of retrain.seeds)")


def every(params: Params, folder: Path, launch: Launch | None = None) -> None:
    """Stage retrain by each of retrain.seeds, `runtime.workers` at a time."""
    seeds = params.retrain.seeds
    if params.runtime.workers == 1 or len(seeds) == 1:
        for seed in seeds:
            main(params, folder, seed, launch)
        return
    on_path(folder)
    work = Work("retrain", params, folder, choose_device(params), Run("retrain", None))
    for job in done(work, "winnow.pipelines.retrain:worker", seeded("retrain", seeds)):
        work.say(f"  {job.parameters['name']} is done")


def worker(folder: str, params: dict[str, Any], device: str) -> Evaluate:
    """What a worker makes once: retrains by the seed of a job."""
    return in_worker(lambda checked, place, job: main(checked, place, job.seed), folder, params)


if __name__ == "__main__":
    from winnow.cli.main import run_stage

    run_stage("retrain")
