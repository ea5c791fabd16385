"""Memory: splits read from disk against the same in memory, the residence of a million images, and a step of DARTS.

    python benchmarks/memory.py rate [--rows 60000]  # both read in turns in one process: their rates, as a ratio
    python benchmarks/memory.py resident --folder F [--rows 1000000]  # twice: writes so many; then reads and trains
    python benchmarks/memory.py step [--recompute]  # peak memory of a bilevel step of DARTS, 16 channels, 8 cells

Images are noise of 32 x 32 in ten classes. Seconds are CPU time of the process, which other work on the machine changes
least.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from winnow.data.decoded import Limit
from winnow.data.inputs.images import Images, augmented
from winnow.data.loaders import Batches, Split, open_split
from winnow.data.schema import FORMAT, ContentDigest, fixed_binary, split_schema
from winnow.data.storage import MANIFEST, write_manifest
from winnow.search.gradients import first_order
from winnow.search.objective import objective
from winnow.search.relax import Logits, softmax
from winnow.spaces import build
from winnow.tasks.classify import IMAGES
from winnow.train.building import laid

SHARES = {"weights": 0.5, "arch": 0.3, "select": 0.19, "test": 0.01}
KINDS = {"image": ("uint8", (3, 32, 32)), "label": ("int32", ())}
FACTS = {"classes": [str(i) for i in range(10)], "symmetric": True}
LEARNT = {"shape": [3, 32, 32], "mean": [0.5] * 3, "std": [0.29] * 3}
PIECE, BATCH = 10_000, 64


def write(folder: Path, rows: int) -> None:
    """Splits of so many rows, as prepare writes them, a piece at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, schema, splits = np.random.default_rng(0), split_schema(KINDS, FACTS), {}
    for name, share in SHARES.items():
        count, content = int(rows * share), ContentDigest(schema)
        with pq.ParquetWriter(folder / f"{name}.parquet", schema, compression="zstd") as writer:
            for start in range(0, count, PIECE):
                n = min(PIECE, count - start)
                pixels = np.frombuffer(rng.bytes(n * 3072), np.uint8).reshape(n, 3, 32, 32)
                columns = [fixed_binary(pixels), pa.array(rng.integers(10, size=n, dtype=np.int32))]
                columns += [pa.array(np.arange(start, start + n)), pa.array(["train"] * n)]
                piece = pa.table([*columns, fixed_binary(rng.integers(256, size=(n, 16), dtype=np.uint8))], schema)
                content.update(piece)
                writer.write_table(piece)
        splits[name] = {"rows": count, "digest": content.hexdigest()}
    manifest = {
        "format": FORMAT,
        "task": IMAGES.name,
        "source": "noise",
        "facts": {**FACTS, **LEARNT},
        "splits": splits,
    }
    write_manifest(manifest, folder / MANIFEST)


def opened(folder: Path, name: str, gib: float) -> Split:
    limit = Limit(int(gib * 2**30), folder / "decoded", print)
    return open_split(folder, name, IMAGES, stage="search", limit=limit)


def batches(split: Split) -> Batches:
    augment = Images(split.facts, augmented(split.facts))
    return Batches(split, BATCH, augment=augment, generator=torch.Generator().manual_seed(0), channels_last=True)


class Search:
    """First-order steps of DARTS."""

    def __init__(self, space: str, recompute: bool = False, **options: int):
        torch.manual_seed(0)
        self.space = laid(build(space, options, classes=10, image_channels=3))
        self.logits = Logits(self.space, torch.Generator().manual_seed(0))
        self.loss = objective(self.space, torch.nn.CrossEntropyLoss(), recompute=recompute)
        self.optimiser = torch.optim.SGD(self.space.parameters(), 0.025, momentum=0.9)

    def step(self, train, valid) -> float:
        first_order(self.space, self.logits, softmax, self.loss, train, valid, self.optimiser)
        with torch.no_grad():
            setting = softmax(self.logits)
        self.optimiser.zero_grad()
        loss = self.loss(train, setting)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def endless(given: Batches) -> Iterator:
    while True:
        yield from given


def rate(folder: Path, rows: int, steps: int) -> list[dict[str, object]]:
    """Ratios of rates, disk over memory: of batches alone, and of a search on a space of 16 channels and one cell."""
    write(folder, rows)
    splits = {"memory": opened(folder, "weights", 1e6), "disk": opened(folder, "weights", 0)}
    found = []
    for what, search in (("batches alone", None), ("a search", Search("nas_bench_201", channels=16, cells=1))):
        streams = {where: endless(batches(split)) for where, split in splits.items()}
        spent: dict[str, list[float]] = {where: [] for where in splits}
        for _ in range(steps if search else steps * 20):
            for where, stream in streams.items():
                began = time.process_time()
                train = next(stream)
                if search:
                    search.step(train, next(stream))
                spent[where].append(time.process_time() - began)
        mean = {where: statistics.fmean(each[len(each) // 10 :]) for where, each in spent.items()}
        n = len(spent["disk"])
        found.append({"what": what, "n": n, **{f"{k} ms": 1e3 * v for k, v in mean.items()}})
        found[-1]["rate, disk / memory"] = mean["memory"] / mean["disk"]
    return found


def resident(folder: Path, rows: int, steps: int) -> list[dict[str, object]]:
    """Peak memory while batches of a whole epoch are made, with a search's steps on the first of them."""
    if not (folder / MANIFEST).exists():
        write(folder, rows)
        print("written: run the same command again, in a process that has written nothing")
        return []
    train, valid = (batches(opened(folder, name, 2)) for name in ("weights", "arch"))
    search, seen = Search("nas_bench_201", channels=16, cells=1), 0
    for number, (one, other) in enumerate(zip(train, endless(valid), strict=False)):
        if number < steps:
            search.step(one, other)
        seen += len(one[1]) + len(other[1])
    return [{"rows": rows, "on disk": train.split.on_disk, "rows read": seen, "peak MiB": peak()}]


def step(recompute: bool) -> list[dict[str, object]]:
    """Peak memory of a process after one step at batch 64, and its CPU seconds."""
    search, before = Search("darts", recompute, channels=16, layers=8), peak()
    batch = torch.randn(BATCH, 3, 32, 32), torch.randint(10, (BATCH,))
    began = time.process_time()
    loss = search.step(batch, batch)
    seconds = time.process_time() - began
    return [{"recompute": recompute, "before MiB": before, "peak MiB": peak(), "CPU seconds": seconds, "loss": loss}]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "resident", "step"])
    parser.add_argument("--rows", type=int, help="[default: 60000, or 1000000 for resident]")
    parser.add_argument("--steps", type=int, default=20, help="of the search, each")
    parser.add_argument("--folder", type=Path, help="for resident, which runs twice: first it writes")
    parser.add_argument("--recompute", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = given.folder or Path(passing)
        if given.what == "resident" and given.folder is None:
            parser.error("resident takes --folder, which it writes to first and reads when it runs again")
        rows = given.rows or (1_000_000 if given.what == "resident" else 60_000)
        called = {
            "rate": lambda: rate(folder, rows, given.steps),
            "resident": lambda: resident(folder, rows, given.steps),
            "step": lambda: step(given.recompute),
        }
        for row in called[given.what]():
            print(json.dumps(row))


if __name__ == "__main__":
    main()
