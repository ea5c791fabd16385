"""What tells good networks of the first run from poor ones: how each signal that a search may use orders random ones.

    python -m benchmarks.signals --out signals.json
    python -m benchmarks.signals --out signals.json --table

Data, space and recipe are those of params.yaml. Each network is retrained twice by batches of 64 and of 32 and tested.
Held against that, by Kendall's tau with the interval of the bootstrap over networks: accuracies after short trainings
on split `weights`, judged on `arch` and `select`; those that supernets of SPOS leave (by several seeds); scores of the
untrained network. No seed is one of first_run.py's. One thread; the same command goes on after a kill.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from benchmarks.first_run import QUIET, ROOT, changed
from winnow.core.architecture import Architecture
from winnow.data.loaders import Split, in_order, join
from winnow.measure.rank import bootstrap, kendall_tau
from winnow.measure.rounds import processor
from winnow.pipelines import inputs, prepare, search
from winnow.run import files, tested
from winnow.run.benches import SPLITS, Benches
from winnow.run.children import train_child, training_split
from winnow.run.controls import controls
from winnow.run.networks import outlined
from winnow.run.start import Start
from winnow.run.work import Work, facts, opened, working
from winnow.search.evolve import Scored
from winnow.search.training_free import proxy_judge
from winnow.train.building import fresh_space
from winnow.train.checkpoint import Keeper
from winnow.train.recipes import Recipe
from winnow.train.watch import Watch

SEED, SUPERNETS, BATCHES = 1600, (1700, 1701, 1702), (64, 32)
SHORT = {"15 epochs by 64": (15, 64), "30 epochs by 64": (30, 64), "15 epochs by 32": (15, 32)}
PROXIES = ("params", "macs", "synflow", "naswot", "zico", "meco", "zen", "jacob_cov", "snip", "az_nas", "quintet")


@contextmanager
def begun(seed: int, networks: int, stages: tuple[Any, ...]) -> Iterator[Work]:
    """Stage select of a run with that seed, after `stages`."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    changes = {"seed": seed, "retrain.seeds": [seed], "evaluate.controls": networks, "runtime.workers": 1}
    params = changed(content, {**QUIET, **changes, "runtime.threads": 1, "trials.executor": "inline"})
    with tempfile.TemporaryDirectory(prefix="winnow-signals-") as place:
        folder = Path(place)
        (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(by_alias=True)), encoding="utf-8")
        for stage in stages:
            stage.main(params, folder)
        with working("select", params, folder, splits=SPLITS) as work:
            yield work


def trained(work: Work, arch: Architecture, training: Split, on: Split, seed: int, recipe: Recipe) -> float:
    """Accuracy on `on`, percent."""
    model = train_child(work, arch, training, seed, Watch(), "", Keeper(), recipe, Start()).eval()
    return tested.score(work.task, tested.outputs(model, on, 256), on)


def inherited(seed: int, archs: list[Architecture]) -> list[float]:
    """What networks answer right with the weights of a supernet."""
    with begun(seed, len(archs), (inputs, prepare, search)) as work:
        bench = Benches(work, Keeper()).bench(seed)
        return [bench.score(arch) for arch in archs]


def scored(work: Work, archs: list[Architecture]) -> dict[str, list[float]]:
    """By proxies, large being good; of an aggregate the log-rank sum among `archs`."""
    params = work.params
    outline = outlined(params.space.name, params.space.chosen(), facts(params, work.folder))
    batch, told = next(iter(in_order(work.split("weights"), 64))), {}
    for name in PROXIES:
        judge = proxy_judge(fresh_space(outline, work.device, SEED), [name], batch, SEED)
        told[name] = [judge(arch) for arch in archs]
        told[name] = [each.score for each in judge.compare([Scored(0, "", arch, 0.0) for arch in archs])]
    return told


def measured(path: Path, networks: int) -> None:
    told = files.read_json(path, "") if path.is_file() else {"machine": processor(), "rows": [], "signals": {}}
    with begun(SEED, networks, (inputs, prepare)) as work:
        archs = controls(work.params, work.folder)
        full, held = training_split(work), join([work.split("arch"), work.split("select")])
        test = opened(work.params, work.folder, "test", stage="evaluate", device=work.device)
        for number in range(len(told["rows"]), networks):
            recipe, arch, began = work.params.retrain.recipe(), archs[number], time.process_time()
            row: dict[str, Any] = {"digest": arch.digest}
            for size in BATCHES:
                by = replace(recipe, batch=size)
                row[f"by {size}"] = [trained(work, arch, full, test, SEED + i, by) for i in range(2)]
            for name, (epochs, size) in SHORT.items():
                by = replace(recipe, epochs=epochs, batch=size)
                row[name] = trained(work, arch, work.split("weights"), held, SEED + 2, by)
            told["rows"].append({**row, "cpu_seconds": round(time.process_time() - began, 1)})
            files.write_json(path, told)
        told["signals"] = scored(work, archs)
    for seed in SUPERNETS:
        told["signals"][f"supernet, seed {seed}"] = inherited(seed, archs)
    files.write_json(path, told)


def table(told: dict[str, Any]) -> str:
    """Kendall's tau with the mean of both tests, by recipe; and how far two tests of one network agree."""
    rows = told["rows"]
    tests = {size: np.array([row[f"by {size}"] for row in rows]) for size in BATCHES}
    lines = ["| signal | retrained by 64 | retrained by 32 |", "|---|---|---|"]
    again = (correlation(tests[size][:, 0], tests[size][:, 1]) for size in BATCHES)
    lines.append(f"| another training of the same | {' | '.join(again)} |")
    short = {f"trained alone, {name}": [row[name] for row in rows] for name in SHORT}
    for name, values in {**short, **told["signals"]}.items():
        lines.append(f"| {name} | {' | '.join(correlation(values, tests[size].mean(1)) for size in BATCHES)} |")
    for size in BATCHES:
        mean = tests[size].mean(1)
        noise = float(np.sqrt(((tests[size][:, 0] - tests[size][:, 1]) ** 2 / 2).mean()))
        low, middle, high = np.percentile(mean, (25, 50, 100))
        lines.append(
            f"\nBy {size}: mean {mean.mean():.1f} %, quartile {low:.1f}, median {middle:.1f}, best {high:.1f}; two "
            f"trainings of one network differ by {noise:.1f} (sd), {len(rows)} networks."
        )
    return "\n".join([*lines, f"\nMachine: {told['machine']}, one thread."])


def correlation(values: Any, truth: Any) -> str:
    """A network without a value, which files hold as null, comes last."""
    least = min(value for value in values if value is not None) - 1
    values = [least if value is None else value for value in values]
    found = bootstrap(kendall_tau, values, truth, np.random.default_rng(0))
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", action="store_true", help="print what is there and run nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.table:
        measured(given.out, given.networks)
    print(table(json.loads(given.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
