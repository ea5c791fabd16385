"""Stage search: reads splits weights and arch; writes artifacts/supernet.safetensors, artifacts/logits.json, curves."""

if __name__ == "__main__":  # a script's folder heads the path, where select.py would hide the standard library's
    import sys

    sys.path.pop(0)

from pathlib import Path

import torch

from winnow.data.loaders import Batches
from winnow.search.methods import METHODS
from winnow.search.objective import cross_entropy
from winnow.stage import files
from winnow.stage.params import Params
from winnow.stage.progress import Shown
from winnow.stage.work import augmentation, search_space, working
from winnow.train.seeds import derived, generator, seeded


def main(params: Params, folder: Path) -> None:
    settings, seed = params.search, derived(params.seed, "search")
    with working("search", params, folder, splits=("weights", "arch"), upstream=("prepare",)) as work:
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
            watch.start(f"search ({settings.strategy})", settings.epochs * len(batches["weights"]))
            logits = METHODS[settings.strategy](
                space,
                batches["weights"],
                batches["arch"],
                objective=cross_entropy(space, settings.precision),
                seed=seed,
                watch=watch,
                **settings.recipe(),
            )
        _write(work, space, logits, watch)


def _write(work, space, logits, watch: Shown) -> None:
    folder, params = work.folder, work.params
    about = {"space": params.space.name, "space_digest": space.digest, "strategy": params.search.strategy}
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
    files.write_rows(folder / files.REPORTS / "weights.csv", rows, ("epoch", "decision", "option", "weight"))
    last = watch.rows[-1]
    metrics = {name: last[name] for name in ("train_loss", "valid_loss") if name in last}
    files.write_json(folder / files.REPORTS / "search.json", metrics)
    for path in (files.SUPERNET, files.LOGITS, files.REPORTS / "search.csv", files.REPORTS / "weights.csv"):
        work.run.artifact(folder / path)
    if watch.weights:
        work.picture("mixture_weights", "weights_over_time", rows)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    work.say(f"searched {params.space.name} with {params.search.strategy}: {shown}")
    work.say(f"  wrote {files.SUPERNET} and {files.LOGITS}; next: winnow select")


if __name__ == "__main__":
    from winnow.cli import run_stage

    run_stage("search")
