"""What training-free search finds on NAS-Bench-201, by the benchmark's own accuracies; one CPU core.

python benchmarks/training_free.py found|freenas|dps TABLE [--images cifar10/train.parquet] [--seeds N]

TABLE is a trials table of the benchmark. `found`: cells that random sampling and evolution choose by a proxy, in a
supernet of 8 channels and one cell a stage. `freenas`: published sizes. `dps`: Eproxy's setting before and after.
"""

import argparse
import io
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.measure.cost import macs
from winnow.measure.rank import spearman
from winnow.proxies.eproxy import PUBLISHED
from winnow.search.dps import BRANCH, correlation, dps
from winnow.search.freenas import freenas
from winnow.search.training_free import evolved, proxy_judge, sampled
from winnow.spaces import build
from winnow.spaces.nas_bench_201 import nas_bench_201, to_string
from winnow.train.seeds import generator, rng, seeded
from winnow.trials.lookup import Table

SETS = ("params", "sed", "synflow", "naswot", "az_nas", "quintet")
AT = {"epochs": 200.0}


class Truth:
    """Accuracies and percentiles of cells."""

    def __init__(self, path: Path):
        self.table = Table.read(path)
        self.columns = {name: self.table.column(f"{name}_valid", AT) for name in ("cifar10", "cifar100")}

    def of(self, arch: Architecture) -> float:
        return float(self.columns["cifar10"][self.table.row(arch)])

    def say(self, arch: Architecture) -> str:
        row = self.table.row(arch)
        told = (f"{n} {c[row]:.2f} (beats {(c < c[row]).mean():.1%})" for n, c in self.columns.items())
        return "  ".join(told) + f"  {to_string(arch)}"


def images(path: Path | None, count: int, side: int) -> torch.Tensor:
    """CIFAR-10's first training images, normalised and made smaller; without a file, noise."""
    if path is None:
        return torch.randn(count, 3, side, side, generator=generator(0, "images"))
    rows = pq.read_table(path).slice(0, count).to_pylist()
    pixels = np.stack([np.array(Image.open(io.BytesIO(row["img"]["bytes"])).convert("RGB")) for row in rows])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, deviation = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    return F.adaptive_avg_pool2d((x - mean.view(3, 1, 1)) / deviation.view(3, 1, 1), side)


def supernet(seed: int):
    with seeded(seed):
        return nas_bench_201(channels=8, cells=1, final=True)


def found(truth: Truth, path: Path | None, seeds: int) -> None:
    batch = images(path, 16, 16), None
    for seed in range(seeds):
        space = supernet(seed)
        for name in SETS:
            for way, search in (("random 100", random_100), ("evolution 20 x 10", evolution_200)):
                began = time.process_time()
                arch, _ = search(space, proxy_judge(space, [name], batch, seed), seed)
                print(f"{seed} {name:<8} {way:<18} {time.process_time() - began:6.1f} s  {truth.say(arch)}", flush=True)


def random_100(space, by, seed):
    return sampled(space, by, rng(seed, "s"), samples=100)


def evolution_200(space, by, seed):
    return evolved(space, by, rng(seed, "e"), population=20, generations=9, parents=5)


def pruned(truth: Truth, seeds: int) -> None:
    for name, random_alpha in (("nas_bench_201", False), ("nas_bench_201", True), ("darts", False)):
        space = build(name, {})
        for seed in range(seeds if random_alpha else 1):
            began = time.process_time()
            arch, _ = freenas(space, (3, 32, 32), generator(seed, "p"), random_alpha=random_alpha)
            seconds, what = time.process_time() - began, "random" if random_alpha else "uniform"
            told = truth.say(arch) if name == "nas_bench_201" else arch.to_json()
            print(f"{seed} {name} {what:<8} {seconds:6.1f} s  {told}", flush=True)


def searched_setting(truth: Truth, path: Path | None) -> None:
    """45 settings on 20 cells, judged on 100 others; channels up to 64, or a processor takes days."""
    space, stream, batch = supernet(0), random.Random(0), (images(path, 8, 16), None)
    archs = list({space.decide(uniform(stream)): None for _ in range(130)})[:120]
    values, networks = [truth.of(arch) for arch in archs], [space.derive(arch) for arch in archs]
    some = {**BRANCH, "head_channels": (16, 32, 64), "target_channels": (16, 32, 64)}
    by = correlation(networks[:20], values[:20], batch, 0)
    most = 220_119_680.0 * (8 / 16) ** 2 / 4 / 4  # about the largest cell at this size
    began = time.process_time()
    tried = dps(by, random.Random(0), most_macs=most, branch=some, population=15, tournament=5, evaluations=45)
    print(f"searched {len(tried)} settings in {time.process_time() - began:.0f} s", flush=True)
    best = max(tried, key=lambda t: t.fitness)
    costs = [float(macs(network, (3, 16, 16))) for network in networks]
    print(
        f"{'MACs':<20} on 20 {spearman(costs[:20], values[:20]):.3f}  on others {spearman(costs[20:], values[20:]):.3f}"
    )
    judged = correlation(networks[20:], values[20:], batch, 0)
    for name, setting in (
        ("published", PUBLISHED),
        ("found", best.setting),
        ("found, without MACs", replace(best.setting, mac_factor=0.0)),
    ):
        print(
            f"{name:<20} on 20 {by(setting):.3f}  on {len(archs) - 20} others {judged(setting):.3f}  {setting}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("found", "freenas", "dps"))
    parser.add_argument("table", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    truth = Truth(options.table)
    if options.what == "found":
        found(truth, options.images, options.seeds)
    elif options.what == "freenas":
        pruned(truth, options.seeds)
    else:
        searched_setting(truth, options.images)


if __name__ == "__main__":
    main()
