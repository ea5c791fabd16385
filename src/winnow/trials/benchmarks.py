"""The published benchmarks that `winnow table import` reads, one function each.

NAS-Bench-201 is read by `trials.tables`. Spaces that winnow builds no networks of are there as the decisions of the
table alone: they can be replayed and predicted, not trained.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.trials.importing import (
    Benchmark,
    Contents,
    Entry,
    by_row,
    left_out,
    numbers,
    per_cent,
    per_device,
    rows_of,
)
from winnow.trials.nb101_table import nas_bench_101

MNAS = {"e": ("expansion", (1, 4, 6)), "k": ("kernel", (3, 5)), "l": ("layers", (1, 2, 3, 4)), "se": ("excite", (0, 1))}
MNAS_BLOCKS = 7
FBNET_LAYERS = 22
FBNET = ("k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip")
OFA_UNITS, OFA_BLOCKS = 5, 4  # of which a unit has its first so many
VIT_SETS = {"c100": "cifar100", "flower": "flowers", "chaoyang": "chaoyang"}
VIT_WAYS = {"base": "", "kd": "_distilled"}


def nas_bench_macro(path: Path, space: str | None) -> Contents:
    """Every chain of eight mobile blocks (Su et al. 2021): Parquet, or the published nas-bench-macro_cifar10.json.

    `arch`, `params`, `flops` and `test_acc_0` ...: each training is a row of its own, so that a look-up is their mean.
    """
    from winnow.spaces.macro import from_string

    _no_space(path, space)
    given = _macro_json(path) if path.suffix == ".json" else rows_of(path, ("arch", "params", "flops", "test_acc_0"))
    archs = _answers(path, given["arch"].to_pylist(), lambda text: from_string(str(text)))
    trainings = [name for name in given.column_names if name.startswith("test_acc_")]
    sizes = {"params": numbers(path, given, "params", 1), "macs": numbers(path, given, "flops", 1)}
    entries = []
    for training, name in enumerate(trainings):
        metrics = by_row({"cifar10_test": per_cent(path, given, name), **sizes})
        entries += [Entry(arch, each, training=training) for arch, each in zip(archs, metrics, strict=True)]
    known = {"arch", "params", "flops", "mean_acc", *trainings}  # the mean follows from the trainings
    return Contents("macro", entries, _others(path, given, known, "nas_bench_macro"))


def _macro_json(path: Path) -> pa.Table:
    try:
        read: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            {"arch": arch, "params": row["params"], "flops": row["flops"]}
            | {f"test_acc_{i}": value for i, value in enumerate(row["test_acc"])}
            for arch, row in read.items()
        ]
    except FileNotFoundError as error:
        raise Refused(f"no file {path}") from error
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        raise Refused(f"{path} is not nas-bench-macro_cifar10.json: {type(error).__name__} {error}") from error
    return pa.Table.from_pylist(rows)


def accel_nasbench(path: Path, space: str | None) -> Contents:
    """MnasNet networks on ImageNet under a cheap schedule, and their speed (Ahmad et al. 2024): Parquet.

    `block0_e`, `_k`, `_l`, `_se` to `block6_se`, `val_top1`, `macs_m`, `params_m` and any of `val_top5`,
    `train_seconds`, `ms_<device>`, `ips_<device>`. A network that was trained twice (another `id`) has two rows.
    """
    _no_space(path, space)
    answers = {f"block{i}_{short}": f"block{i}/{MNAS[short][0]}" for i in range(MNAS_BLOCKS) for short in MNAS}
    given = rows_of(path, ("id", *answers, "val_top1", "macs_m", "params_m"))

    def arch_of(row: Mapping[str, Any]) -> Architecture:
        for column in answers:
            if row[column] not in MNAS[column.partition("_")[2]][1]:
                raise Refused(f"{column} takes one of {MNAS[column.partition('_')[2]][1]}, not {row[column]!r}")
        return Architecture.of({name: int(row[column]) for column, name in answers.items()})

    archs = _answers(path, given.select(list(answers)).to_pylist(), arch_of)
    columns = {"imagenet_valid": per_cent(path, given, "val_top1")}
    if "val_top5" in given.column_names:
        columns["imagenet_valid_top5"] = per_cent(path, given, "val_top5")
    if "train_seconds" in given.column_names:
        columns["train_seconds"] = numbers(path, given, "train_seconds", 0)
    columns["macs"] = np.round(1e6 * numbers(path, given, "macs_m", 0))
    columns["params"] = np.round(1e6 * numbers(path, given, "params_m", 0))
    columns |= per_device(path, given)
    entries = [
        Entry(arch, metrics, training=int(number))
        for arch, metrics, number in zip(archs, by_row(columns), given["id"].to_pylist(), strict=True)
    ]
    known = {"id", *answers, "val_top1", "val_top5", "train_seconds", "macs_m", "params_m"}
    return Contents("accel_nasbench", entries, _others(path, given, known, "accel_nasbench"))


def device_latency(path: Path, space: str | None) -> Contents:
    """Milliseconds on devices, `ms_<device>`, of one of three spaces, told by its columns (Lee et al. 2021): Parquet.

    NAS-Bench-201 has `arch_str`; FBNet `ops`, 22 of them; Once-for-all `ks`, `e`, `d` and `r`, the resolution, which is
    a fidelity here, since a space of winnow is for one.
    """
    _no_space(path, space)
    given = rows_of(path, ())
    columns = per_device(path, given)
    if not columns:
        raise Refused(f"{path} has no column ms_<device> or ips_<device>, only {', '.join(given.column_names)}")
    fidelities: list[dict[str, float]] = [{} for _ in range(len(given))]
    if "arch_str" in given.column_names:
        from winnow.spaces.nas_bench_201 import from_string

        name, known = "nas_bench_201", {"index", "arch_str"}
        archs = _answers(path, given["arch_str"].to_pylist(), from_string)
    elif "ops" in given.column_names:
        name, known = "fbnet", {"op_index", "ops"}
        archs = _answers(path, given["ops"].to_pylist(), _fbnet)
    elif {"ks", "e", "d", "r"} <= set(given.column_names):
        name, known = "ofa", {"ks", "e", "d", "r"}
        archs = _answers(path, given.select(["ks", "e", "d"]).to_pylist(), _ofa)
        fidelities = [{"resolution": each} for each in numbers(path, given, "r", 1).tolist()]
    else:
        raise Refused(
            f"{path} says of no network which it is: it takes arch_str (NAS-Bench-201), ops (FBNet) or ks, e, d and r "
            f"(Once-for-all), and has {', '.join(given.column_names)}"
        )
    entries = [Entry(*each) for each in zip(archs, by_row(columns), fidelities, strict=True)]
    return Contents(name, entries, _others(path, given, known, "device_latency"))


def _fbnet(ops: Sequence[str]) -> Architecture:
    if len(ops) != FBNET_LAYERS or not set(ops) <= set(FBNET):
        raise Refused(f"a network of FBNet has {FBNET_LAYERS} operations of {', '.join(FBNET)}, not {list(ops)}")
    return Architecture.of({f"layer/{i:02}": op for i, op in enumerate(ops)})


def _ofa(row: Mapping[str, Sequence[int]]) -> Architecture:
    """The answers that space ofa reaches: of each unit its first blocks."""
    if len(row["d"]) != OFA_UNITS or {len(row["ks"]), len(row["e"])} != {OFA_UNITS * OFA_BLOCKS}:
        raise Refused(f"a network of Once-for-all has {OFA_UNITS} depths and 20 kernels and ratios, not {row}")
    answers: dict[str, int] = {}
    for unit, depth in enumerate(row["d"]):
        answers[f"unit{unit + 1}/depth"] = depth
        for block in range(depth):
            place = unit * OFA_BLOCKS + block
            answers[f"unit{unit + 1}/block{block + 1}/kernel"] = row["ks"][place]
            answers[f"unit{unit + 1}/block{block + 1}/ratio"] = row["e"][place]
    return Architecture.of(answers)


def vit_bench(path: Path, space: str | None) -> Contents:
    """Small vision transformers of two spaces, `space` autoformer_tiny or pit (Wei et al. 2024): Parquet.

    The former are architectures of space `vit` (size tiny), which can be trained and scored; PiT is of the table alone.
    `space`, `width`, `depth`, `mlp_ratio` and `num_heads`, and accuracies such as `c100_base_acc` (cifar100) and
    `c100_kd_acc` (cifar100_distilled).
    """
    given = rows_of(path, ("space", "width", "depth", "mlp_ratio", "num_heads"))
    sizes = {name: given["space"].to_pylist().count(name) for name in sorted(set(given["space"].to_pylist()))}
    if space is None and len(sizes) > 1:
        told = " or ".join(f"--space {name} ({count} networks)" for name, count in sizes.items())
        raise Refused(f"{path} holds several spaces, and a table has one: say {told}")
    name = space or next(iter(sizes))
    if name not in sizes:
        raise Refused(f"{path} has no network of space {name!r}; it has those of {', '.join(sizes)}")
    given = given.filter(pa.array([each == name for each in given["space"].to_pylist()]))
    rows = given.select(["width", "depth", "mlp_ratio", "num_heads"]).to_pylist()
    archs = _answers(path, rows, _autoformer if name == "autoformer_tiny" else _pit)
    named = {f"{a}_{b}_acc": f"{VIT_SETS[a]}{VIT_WAYS[b]}" for a in VIT_SETS for b in VIT_WAYS}
    named["imagenet_super_acc"] = "imagenet_inherited"
    columns = {n: per_cent(path, given, column) for column, n in named.items() if column in given.column_names}
    columns = {n: values for n, values in columns.items() if not np.isnan(values).all()}
    if not columns:
        raise Refused(f"{path} has no accuracy of {name}: it takes any of {', '.join(named)}")
    entries = [Entry(arch, metrics) for arch, metrics in zip(archs, by_row(columns), strict=True)]
    known = {"space", "file", "width", "depth", "mlp_ratio", "num_heads", *named}
    return Contents(
        "vit" if name == "autoformer_tiny" else f"vit_bench/{name}", entries, _others(path, given, known, "vit_bench")
    )


def _autoformer(row: Mapping[str, Any]) -> Architecture:
    """In the words of space `vit`: ratios are percent."""
    (depth,) = row["depth"]
    if not len(row["num_heads"]) == len(row["mlp_ratio"]) == depth:
        raise ValueError(f"a network of {depth} blocks has {len(row['num_heads'])} numbers of heads")
    answers: dict[str, int] = {"embedding": row["width"], "depth": depth}
    for block, (heads, ratio) in enumerate(zip(row["num_heads"], row["mlp_ratio"], strict=True), 1):
        answers |= {f"block{block}/heads": heads, f"block{block}/ratio": round(100 * ratio)}
    return Architecture.of(answers)


def _pit(row: Mapping[str, Any]) -> Architecture:
    """Lists of one number are one decision, others one a stage or a block; ratios are text, as 3.5 is no option."""
    answers: dict[str, str | int] = {"width": row["width"]}
    for name in ("depth", "mlp_ratio", "num_heads"):
        values = [f"{v:g}" if name == "mlp_ratio" else int(v) for v in row[name]]
        if len(values) == 1:
            answers[name] = values[0]
        else:
            answers |= {f"{name}/{i:02}": value for i, value in enumerate(values)}
    return Architecture.of(answers)


def _no_space(path: Path, space: str | None) -> None:
    if space is not None:
        raise Refused(f"{path} is of one space by its format: leave out --space {space}")


def _answers(path: Path, rows: Sequence[Any], made: Callable[[Any], Architecture]) -> list[Architecture]:
    """The architecture of each row. Refused with the row's number where one is none of the space."""
    found = []
    for number, row in enumerate(rows):
        try:
            found.append(made(row))
        except (Refused, ValueError, TypeError) as error:
            raise Refused(f"{path}, row {number}: {error}") from error
    return found


def _others(path: Path, given: pa.Table, known: set[str], benchmark: str) -> list[str]:
    names = [n for n in given.column_names if n not in known and not n.startswith(("ms_", "ips_"))]
    return left_out(path, names, benchmark)


BENCHMARKS = {
    "nas_bench_101": Benchmark("Apache-2.0", "Ying et al. 2019, github.com/google-research/nasbench", nas_bench_101),
    "nas_bench_macro": Benchmark("Apache-2.0", "Su et al. 2021, github.com/xiusu/NAS-Bench-Macro", nas_bench_macro),
    "accel_nasbench": Benchmark("Apache-2.0", "Ahmad et al. 2024, github.com/afzalxo/Accel-NASBench", accel_nasbench),
    "device_latency": Benchmark(
        "MIT", "Lee et al. 2021, github.com/HayeonLee/HELP; HW-NAS-Bench, Li et al. 2021", device_latency
    ),
    "vit_bench": Benchmark("Apache-2.0", "Wei et al. 2024, github.com/lilujunai/Auto-Prox-AAAI24", vit_bench),
}
