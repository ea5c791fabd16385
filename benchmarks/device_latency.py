"""How much of a device's milliseconds is a sum over options, on tables of measured networks.

python benchmarks/device_latency.py --data FOLDER --out F.json: a minute on one core. FOLDER holds any of
nasbench201.parquet, fbnet.parquet and ofa.parquet (columns ms_*, and the answers of each network). Columns that are
sums of block times themselves are left out: a linear model that fits those has shown nothing.
"""

import argparse
import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from winnow.core.architecture import Architecture
from winnow.core.decision import Decision
from winnow.core.errors import Refused
from winnow.predictors.device import calibrated
from winnow.predictors.encode import one_hot
from winnow.predictors.stagewise import fit, held_out, latency_terms

SUMS = {"nasbench201": ("eyeriss", "fpga"), "fbnet": ("raspi4", "pixel3", "eyeriss", "fpga")}
FITTED, HELD, DRAWS, TOLD = 300, 40, 5, 2000  # networks fitted to, held out for the error, and told beside; times
UNITS = 5


@dataclass(frozen=True)
class Table:
    """Networks as answers to decisions, and milliseconds by device (n,)."""

    decisions: dict[str, Decision]
    archs: list[Architecture]
    ms: dict[str, np.ndarray]


def edges(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Of NAS-Bench-201: an answer an edge, as arch_str names them in turn."""
    found = [re.findall(r"([^|~+]+)~(\d)", row["arch_str"]) for row in rows]
    return [{f"{i}<-{source}": op for i, (op, source) in enumerate(each)} for each in found]


def layers(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Of FBNet: an answer a layer."""
    return [{f"{i:02}": op for i, op in enumerate(row["ops"])} for row in rows]


def read(path: Path) -> Table:
    rows = pq.read_table(path).to_pylist()
    answers = {"nasbench201": edges, "fbnet": layers}[path.stem](rows)
    options = {name: tuple(sorted({each[name] for each in answers})) for name in answers[0]}
    columns = [name for name in rows[0] if name.startswith("ms_") and name[3:] not in SUMS[path.stem]]
    ms = {name[3:]: np.array([row[name] for row in rows], dtype=float) for name in columns}
    if not ms:
        raise Refused(f"{path} has no column ms_* that was measured")
    return Table({n: Decision(n, o) for n, o in options.items()}, [Architecture.of(each) for each in answers], ms)


def r2(told: np.ndarray, true: np.ndarray) -> float:
    return float(1 - ((told - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def by_options(name: str, table: Table) -> Iterator[dict[str, Any]]:
    """A row a device: R2 on all rows, and of models that `winnow calibrate` fits to 300, on networks never seen."""
    x = one_hot(table.decisions, lambda arch: {})(table.archs)
    whole = np.column_stack([np.ones(len(x)), x])
    for device, ms in table.ms.items():
        solved, *_ = np.linalg.lstsq(whole, ms, rcond=None)
        seen, errors, covered, without = [], [], [], []
        for draw in range(DRAWS):
            places = random.Random(draw).sample(range(len(ms)), FITTED + HELD + TOLD)
            own, held, rest = places[:FITTED], places[FITTED : FITTED + HELD], places[FITTED + HELD :]
            archs = table.archs
            try:
                found = calibrated(
                    device, table.decisions, [archs[i] for i in own], ms[own], [archs[i] for i in held], ms[held]
                )
            except Refused:  # no better than one number for all
                continue
            told = np.array([found.ms(archs[i]) for i in rest])
            seen.append(r2(told, ms[rest]))
            errors.append(found.error)
            without.append(found.without)
            covered.append(float((np.abs(told - ms[rest]) <= found.error).mean()))
        yield {
            "space": name,
            "device": device,
            "model": "options",
            "rows": len(ms),
            "median_ms": float(np.median(ms)),
            "r2_all": r2(whole @ solved, ms),
            "r2_held_out": mean(seen),
            "error_ms": mean(errors),
            "without_ms": mean(without),
            "covered": mean(covered),
            "refused": DRAWS - len(seen),
        }


def mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def by_stages(path: Path) -> Iterator[dict[str, Any]]:
    """FOX-NAS' 36 coefficients, one resolution at a time: R2 on the rows fitted to, and of five folds."""
    rows = pq.read_table(path).to_pylist()
    sizes = np.array([row["r"] for row in rows])
    stages = np.array([stages_in(row) for row in rows])
    for column in (name for name in rows[0] if name.startswith("ms_")):
        ms, own, folds = np.array([row[column] for row in rows], dtype=float), [], []
        for size in np.unique(sizes):
            at = np.flatnonzero(sizes == size)
            own.append(fit(latency_terms, stages[at], ms[at]).r2)
            folds.append(r2(held_out(latency_terms, stages[at], ms[at], np.random.default_rng(0)), ms[at]))
        yield {
            "space": "ofa",
            "device": column[3:],
            "model": "stages",
            "rows": len(ms),
            "median_ms": float(np.median(ms)),
            "r2_all": float(np.median(own)),
            "r2_held_out": float(np.median(folds)),
            "resolutions": len(own),
        }


def stages_in(row: dict[str, Any]) -> np.ndarray:
    """(5, stages): the variables of `predictors.stagewise`."""
    found = []
    for unit in range(UNITS):
        depth = row["d"][unit]
        ratios, kernels = (row[key][4 * unit : 4 * unit + depth] for key in ("e", "ks"))
        found.append([depth, np.mean(ratios[1:]), np.mean(kernels[1:]), ratios[0], kernels[0]])
    return np.array(found, dtype=float).T


def main(data: Path, out: Path) -> None:
    rows: list[dict[str, Any]] = []
    for stem in ("nasbench201", "fbnet", "ofa"):
        path = data / f"{stem}.parquet"
        if not path.is_file():
            print(f"no {path}: left out", file=sys.stderr)
            continue
        for row in by_stages(path) if stem == "ofa" else by_options(stem, read(path)):
            rows.append(row)
            told = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            print(" ".join(f"{key} {value}" for key, value in told.items()), flush=True)
    if not rows:
        raise SystemExit(f"{data} holds none of nasbench201.parquet, fbnet.parquet, ofa.parquet")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    main(given.data, given.out)
