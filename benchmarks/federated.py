"""A CNN against a vision transformer under federated training: by skew of labels, and with speakers as clients.

    python benchmarks/federated.py --images CIFAR10 --speech SPOKEN_DIGITS --out federated.json
    python benchmarks/federated.py --table federated.json

CIFAR10 and SPOKEN_DIGITS are folders of Parquet files (sources `parquet` and `audio_parquet`, the latter with a column
`speaker`); what is not given is left out. Clients of CIFAR-10 are five, with label skew 0, 0.65 and 1 (mean KS
statistic over pairs); those of speech are the speakers, but for number 5, who is the test set. Both networks begin from
scratch, neither is pretrained, and are trained by one recipe (`RECIPE`). A row is one training, judged on the test set
after every round and on what clients hold out after every visit; what is in the file is not run again.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnow.config.federation import FederationParams
from winnow.data.loaders import in_order, join, open_split
from winnow.data.prepare import prepare_splits
from winnow.measure import cost
from winnow.measure.compare import difference, mean_interval
from winnow.run.federation import clients_of, told
from winnow.run.networks import example_of, outlined
from winnow.tasks import task_named
from winnow.train.building import fresh, laid
from winnow.train.evaluate import measured
from winnow.train.federation import Local, federate
from winnow.train.recipes import RECIPES
from winnow.train.seeds import derived
from winnow.train.watch import Watch

RECIPE = replace(
    RECIPES["quick"], batch=32, optimiser="adamw", lr=2e-3, weight_decay=0.05, warmup_epochs=1, clip=1.0, nesterov=False
)
NETWORKS = {  # of about the same MACs at 16 x 16 pixels
    "cnn": ("nas_bench_201", {"channels": 8, "cells": 1}, "nor_conv_3x3"),
    "vit": ("vit", {"size": "micro", "patch": 4}, None),
}
ALGORITHMS = ("average", "cyclic")
SKEWS = (0.0, 0.65, 1.0)
KEY = ("data", "skew", "algorithm", "network", "seed")
HEAD = ("clients", "skew", "algorithm", "network", "test % after 1", "a third", "all rounds", "held out %")
MORE = ("forgotten", "most forgotten", "below skew 0", "n")
ENOUGH = 3  # seeds, of which an interval is told


def grounds(asked: argparse.Namespace) -> Iterator[tuple[str, str, dict[str, Any], list[dict[str, Any]]]]:
    """Name, task, how it is prepared, and the clients of each partition."""
    if asked.images:
        given = {"source": "parquet", "path": asked.images, "image_size": 16, "limit_train": asked.rows}
        by_skew = [{"clients": 5, "ks": skew} for skew in SKEWS]
        yield "cifar10", "image_classification", {**given, "limit_test": 1000}, by_skew
    if asked.speech:
        own = {"group_column": "speaker", "test_groups": [5], "mels": 16, "hop_ms": 32.0, "window_ms": 64.0}
        given = {"source": "audio_parquet", "path": asked.speech, "limit_train": asked.rows}
        given |= {"own": {**own, "seconds": 0.544}}
        yield "speakers", "audio_classification", given, [{"column": "group"}]


def network(name: str, fact: dict[str, Any], seed: int) -> nn.Module:
    """The largest of its space, or the one with all operations alike."""
    space_name, options, operation = NETWORKS[name]
    space = outlined(space_name, options, fact, auxiliary=False)
    arch = space.decide(lambda d: d.values[-1] if operation is None else operation)
    return laid(fresh(space, arch, "cpu", derived(seed, "initialise")))


def row_of(
    folder: Path, task_name: str, partition: dict[str, Any], algorithm: str, name: str, seed: int, rounds: int
) -> dict[str, Any]:
    task = task_named(task_name)
    training = join([open_split(folder, split, task, stage="evaluate") for split in ("weights", "arch", "select")])
    test = in_order(open_split(folder, "test", task, stage="evaluate"), 500)
    settings = FederationParams(algorithm=algorithm, rounds=rounds, **partition)
    clients = clients_of(settings, training)
    fact = {"task": task_name, **task.facts(training.facts)}
    model = network(name, fact, seed)
    augment = task.inputs(training.facts, task.augment(training.facts))
    local = Local(model, clients, settings.federation(), RECIPE, task, seed, augment)
    tested: list[float] = []

    def after_round(number: int, trained: nn.Module, said: Any) -> None:
        tested.append(measured(task, trained.eval(), test)[task.metric])

    began = time.process_time()
    record = federate(local, batch=500, watch=Watch(), after_round=after_round)
    whole = [row for row in record if row["client"] is None]
    sizes = {"params": cost.params(model), "macs": cost.macs(model, example_of(fact))}
    ended = {"test": tested, "held_out": whole[-1]["value"], "forgetting": [row["forgetting"] for row in whole]}
    about = {"clients": len(clients), "rows": len(training), "measured_skew": told(clients)["skew"]}
    return {**ended, **about, **sizes, "rounds": rounds, "cpu_seconds": time.process_time() - began}


def run(asked: argparse.Namespace) -> None:
    rows = json.loads(asked.out.read_text()) if asked.out.is_file() else []
    done = {tuple(row[name] for name in KEY) for row in rows}
    torch.set_num_threads(1)
    for data, task, given, partitions in grounds(asked):
        with tempfile.TemporaryDirectory() as scratch:
            fractions = {"weights": 0.5, "arch": 0.3, "select": 0.2}
            prepare_splits(scratch, task_named(task), seed=0, fractions=fractions, test_fraction=0.2, **given)
            wanted = [
                (data, partition.get("ks"), algorithm, name, seed)
                for seed in range(asked.seeds)
                for partition in partitions
                for algorithm in asked.algorithms
                for name in NETWORKS
            ]
            for key in [key for key in wanted if key not in done]:
                partition = next(each for each in partitions if each.get("ks") == key[1])
                found = row_of(Path(scratch), task, partition, *key[2:], asked.rounds)
                rows.append({**dict(zip(KEY, key, strict=True)), **found})
                asked.out.write_text(json.dumps(rows, indent=1))
                print(*key, f"{found['test'][-1]:.1f} %, {found['cpu_seconds']:.0f} s", flush=True)
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """A line a setting, means over seeds; after ± stands half of Student's 95 % interval (three seeds or more)."""
    lines = ["| " + " | ".join(HEAD + MORE) + " |", "|---" * len(HEAD + MORE) + "|"]
    settings = dict.fromkeys(tuple(row[name] for name in KEY[:-1]) for row in rows)
    for setting in sorted(settings, key=lambda s: (s[0], s[1] or 0, s[2], s[3])):
        own = [row for row in rows if tuple(row[name] for name in KEY[:-1]) == setting]
        level = [row for row in rows if (row["data"], row["skew"], *setting[2:]) == (setting[0], 0.0, *setting[2:])]
        level = [row for row in level if (row["algorithm"], row["network"]) == setting[2:]]
        even = {row["seed"]: row["test"][-1] for row in level}
        lost = [even[row["seed"]] - row["test"][-1] for row in own if row["seed"] in even and setting[1]]
        third = own[0]["rounds"] // 3 - 1
        cells = [
            f"{own[0]['clients']}, {setting[0]}",
            f"{own[0]['measured_skew']:.2f}",
            *setting[2:],
            *(_told([row["test"][at] for row in own]) for at in (0, third, -1)),
            _told([row["held_out"] for row in own]),
            _told([row["forgetting"][-1] for row in own]),
            _told([max(row["forgetting"]) for row in own]),
            _told(lost) if lost else "",
            str(len(own)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_gaps(rows)])


def _gaps(rows: list[dict[str, Any]]) -> list[str]:
    """How far vit is above cnn on the test set at the end, with Welch's 95 % interval."""
    lines = []
    for key in dict.fromkeys((row["data"], row["skew"], row["algorithm"]) for row in rows):
        here = [row for row in rows if (row["data"], row["skew"], row["algorithm"]) == key]
        vit, cnn = ([row["test"][-1] for row in here if row["network"] == name] for name in ("vit", "cnn"))
        if min(len(vit), len(cnn)) >= ENOUGH:
            gap = difference(vit, cnn)
            told = f"{gap.mean:+.1f} points ({gap.low:+.1f} to {gap.high:+.1f})"
            lines.append(f"vit above cnn, {key[0]}, skew {here[0]['measured_skew']:.2f}, {key[2]}: {told}")
    return lines


def _told(values: list[float]) -> str:
    if len(values) < ENOUGH:
        return f"{statistics.fmean(values):.1f}"
    found = mean_interval(values)
    return f"{found.mean:.1f} ± {(found.high - found.low) / 2:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the rows, as JSON; those that are there are kept")
    parser.add_argument("--table", type=Path, help="print the rows of this file as a table, and run nothing")
    parser.add_argument("--images", type=Path, help="folder of Parquet files of CIFAR-10")
    parser.add_argument("--speech", type=Path, help="folder of Parquet files of spoken digits")
    parser.add_argument("--algorithms", nargs="+", default=ALGORITHMS, help=f"[default: {' '.join(ALGORITHMS)}]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--rows", type=int, default=1200, help="images to train on, those that clients hold out too")
    asked = parser.parse_args()
    if asked.table:
        print(table(json.loads(asked.table.read_text())))
    elif not asked.out or not (asked.images or asked.speech):
        parser.error("--out says where rows go, --images and --speech what is trained on")
    else:
        run(asked)


if __name__ == "__main__":
    main()
