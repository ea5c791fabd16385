"""The neck that OPANAS found beside two made by hand and random ones within the same MACs: AP on the test images.

    winnow use opanas_small && winnow inputs && winnow prepare && winnow search && winnow select && winnow tune
    python benchmarks/opanas.py FOLDER --inherited 20                  with the weights of the supernet
    python benchmarks/opanas.py FOLDER --seeds 0 1 2 --random 3        each retrained from nothing, by the recipe
    python benchmarks/opanas.py FOLDER --table                         what rows there are, as means ± sd

FOLDER is where the recipe ran. A row is one network, appended to FOLDER/opanas.jsonl as it is known; one that is there
is not run again. By hand are top-down alone, and that with bottom-up after it.
"""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from winnow.config.reading import read_params
from winnow.core.architecture import Architecture
from winnow.core.choosers import distinct
from winnow.data.loaders import in_order
from winnow.measure import cost
from winnow.run import files
from winnow.run.benches import Benches
from winnow.run.children import train_child, training_split
from winnow.run.limits import Limits
from winnow.run.work import Work, device_of, final_space, promise
from winnow.spaces.fpn import down_and_up, top_down
from winnow.tracking.run import Run
from winnow.train.checkpoint import Keeper
from winnow.train.evaluate import calibrated, measured
from winnow.train.seeds import rng
from winnow.train.watch import Watch

BY_HAND = {"top_down": top_down, "down_and_up": down_and_up}
FILE = "opanas.jsonl"


def networks(work: Work, random: int) -> dict[str, Architecture]:
    """By name: what was found, those by hand, and so many random ones within the limits."""
    space = final_space(work.params, work.folder)
    found = files.read_architecture(work.folder / files.ARCHITECTURE, space, work.params.space.name)
    limits = Limits.of(work.params, work.folder, space)
    drawn = distinct(space, rng(0, "opanas"), random, lambda arch: arch != found and limits.allows(arch))
    by_hand = {name: answers(space) for name, answers in BY_HAND.items()}
    return {"found": found, **by_hand, **{f"random {i}": arch for i, arch in enumerate(drawn)}}


def inherited(work: Work, random: int, known: set[tuple]) -> Iterator[dict[str, Any]]:
    bench, test = Benches(work, Keeper()).bench(0), work.split("test")
    for name, arch in networks(work, random).items():
        if ("inherited", name, 0) in known:
            continue
        child = calibrated(bench.space.derive(arch), bench.splits["weights"], bench.calibration_images, bench.batch)
        yield {
            "weights": "inherited",
            "name": name,
            "seed": 0,
            **measured(work.task, child, in_order(test, bench.batch)),
        }


def retrained(work: Work, random: int, seeds: list[int], known: set[tuple]) -> Iterator[dict[str, Any]]:
    """Seed by seed, so that a run that is stopped has rows of all."""
    space, training, test = final_space(work.params, work.folder), training_split(work), work.split("test")
    for seed in seeds:
        for name, arch in networks(work, random).items():
            if ("retrained", name, seed) in known:
                continue
            began = time.process_time()
            model = train_child(work, arch, training, seed, Watch(), name, Keeper())
            sizes = cost.sizes(space.derive(arch), space.example)
            found = measured(work.task, model, in_order(test, work.params.select.batch))
            row = {"weights": "retrained", "name": name, "seed": seed, **found, **sizes}
            yield row | {"cpu_seconds": round(time.process_time() - began, 1)}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Random ones are one row: over networks, and seeds."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["weights"], row["name"].split()[0]), []).append(row)
    yield "| weights | neck | n | AP | AP50 |\n|---|---|---|---|---|"
    for (weights, name), each in groups.items():
        shown = [_mean([row[metric] for row in each]) for metric in ("ap", "ap50")]
        yield f"| {weights} | {name} | {len(each)} | {' | '.join(shown)} |"


def _mean(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--inherited", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--random", type=int, default=0)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    params = read_params(given.folder / "params.yaml")
    promise(1)
    work, path = Work("evaluate", params, given.folder, device_of(params), Run("evaluate", None)), given.folder / FILE
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if given.table:
        print("\n".join(table(rows)))
    known = {(row["weights"], row["name"], row["seed"]) for row in rows}
    with path.open("a") as file:
        for row in itertools.chain(
            inherited(work, given.inherited, known) if given.inherited else (),
            retrained(work, given.random, given.seeds, known) if given.seeds else (),
        ):
            print(json.dumps(row), file=file, flush=True)
