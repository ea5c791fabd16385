"""Losses of task retrieval on one network: proxy anchor, proxy NCA, and both with non-isotropy regularisation.

    python benchmarks/retrieval.py --data ../omniglot --out benchmarks/results/retrieval.json

The largest network of recipe `retrieval` (3x3 convolutions everywhere), trained by its recipe on all classes but those
of the test set, from each seed by each loss. Printed are means with 95 % intervals over the seeds, and differences to
proxy anchor by seed.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from winnow.config.params import Params
from winnow.config.reading import check_params
from winnow.data.loaders import Batches, Split, join, open_split
from winnow.measure.compare import mean_interval
from winnow.measure.rounds import processor
from winnow.pipelines import prepare
from winnow.run import files, tested
from winnow.run.work import augmentation, final_space
from winnow.tasks.retrieval import RETRIEVAL
from winnow.tools.recipes import recipes
from winnow.train.building import fresh
from winnow.train.fit import fit
from winnow.train.seeds import derived, generator
from winnow.train.watch import Watch

LOSSES: dict[str, dict[str, Any]] = {
    "anchor": {},
    "nca": {"proxies": "nca"},
    "nir": {"nir": "exp"},
    "nir, mean": {"nir": "mean"},
}
NUMBERS = ("recall_1", "recall_4", "map_r", "nmi")


def trained(params: Params, folder: Path, splits: tuple[Split, Split], loss: Mapping[str, Any], seed: int) -> dict:
    """The numbers of one network on the test split, and the seconds of its training."""
    train, test = splits
    recipe = replace(params.retrain.recipe(), loss=loss)
    space = final_space(params, folder)
    model = fresh(space, space.decide(lambda d: d.values[-1]), "cpu", derived(seed, "initialise"))
    inputs, draws = augmentation(params, train), generator(seed, "batches")
    batches = Batches(train, recipe.batch, augment=inputs, generator=draws, channels_last=True)
    began = time.process_time()
    fit(model, batches, recipe, RETRIEVAL, seed=seed, watch=Watch(), facts=RETRIEVAL.taught(train))
    seconds = time.process_time() - began
    told = RETRIEVAL.told([tested.outputs(model, test, 256)], test.answers, test.facts)
    return {"seed": seed, "seconds": seconds, **told["models"][0]}


def shown(rows: list[dict], name: str, against: list[dict] | None = None) -> str:
    values = [row[name] - (0 if against is None else against[i][name]) for i, row in enumerate(rows)]
    mean = mean_interval(values)
    return f"{mean.mean:{'+' if against else ''}.2f} [{mean.low:.2f}, {mean.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), help="names, or options as JSON")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--set", nargs="*", default=[], help="fields of retrain, such as lr=0.01")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    content = yaml.safe_load(recipes(Path())["retrieval"].read_text())
    content["data"]["path"], content["tracking"] = str(given.data.resolve()), {"enabled": False}
    content["retrain"] |= {key: yaml.safe_load(value) for key, _, value in (each.partition("=") for each in given.set)}
    params, found = check_params(content), {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as passing:
        folder = Path(passing)
        prepare.main(params, folder)
        train = join([open_split(folder / files.SPLITS, s, RETRIEVAL, stage="retrain") for s in params.retrain.splits])
        test = open_split(folder / files.SPLITS, "test", RETRIEVAL, stage="evaluate")
        pixels = RETRIEVAL.measure([255 - test.columns["image"].flatten(1).float()], [test.answers])
        print(f"the pixels themselves: {pixels}")
        for name in given.losses:
            loss = LOSSES[name] if name in LOSSES else json.loads(name)
            found[name] = [trained(params, folder, (train, test), loss, seed) for seed in given.seeds]
            seconds = sum(row["seconds"] for row in found[name]) / len(given.seeds)
            line = ", ".join(f"{key} {shown(found[name], key)}" for key in NUMBERS)
            beside = f"; over anchor {shown(found[name], 'recall_1', found['anchor'])}" if "anchor" in found else ""
            print(f"{name}: {line}{beside}; {seconds:.0f} s each", flush=True)
    if given.out:
        given.out.write_text(json.dumps({"machine": processor(), "losses": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
