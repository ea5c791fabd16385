"""NAS-Bench-201 as a trials table of ours; the other benchmarks are in `trials.benchmarks`."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.trials.importing import Published, rows_of, signed, source_of
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import Row, as_table, write_table

NAS_BENCH_201 = Published("MIT", "Dong & Yang 2020, github.com/D-X-Y/NAS-Bench-201")
COUNT = 15_625
BEST = (6111, "cifar10_valid_200", 91.6067)
DATA_SETS = ("cifar10", "cifar100", "imagenet16", "imagenet16_120")  # the last as the benchmark calls it


def import_nas_bench_201(paths: Sequence[Path], out: Path) -> tuple[int, list[str]]:
    """Write one trials table from Parquet files of the benchmark; how many rows it has, one a cell and fidelity, and
    the columns that are no results of the benchmark and were left out.

    A file has `index`, `arch_str` and any of `<set>_valid_<epochs>`, `<set>_test_<epochs>` with epochs 12 or 200, in
    per cent. Params and macs (CIFAR-10) come from the published formula. Refused where cells are missing or repeated,
    numbers are no percentages, 12-epoch results pose as 200-epoch ones, or two files differ about a result.
    """
    columns: dict[str, np.ndarray] = {}
    cells: list[Architecture] = []
    left_out: list[str] = []
    for path in paths:
        here, found, others = _results(path)
        cells = cells or here
        places = {cell: place for place, cell in enumerate(here)}
        order = [places[cell] for cell in cells]  # files may number the cells as they like
        left_out += [f"{path.name}: {name}" if len(paths) > 1 else name for name in others]
        for name, values in ((name, column[order]) for name, column in found.items()):
            if name in columns and not np.array_equal(columns[name], values):
                raise Refused(f"{path} has another {name} than a file before it: leave one of the two out")
            columns[name] = values
    rows: list[Row] = []
    costs = [_cost(cell) for cell in cells]
    for epochs in sorted({name.rpartition("_")[2] for name in columns}, key=int):
        fidelity = {"epochs": float(epochs)}
        of_these = {name.rpartition("_")[0]: values for name, values in columns.items() if name.endswith(f"_{epochs}")}
        for position, (cell, cost) in enumerate(zip(cells, costs, strict=True)):
            metrics = {name: float(values[position]) for name, values in of_these.items()} | cost
            rows.append(_row(len(rows), cell, metrics, fidelity))
    sources = [source_of("nas_bench_201", NAS_BENCH_201, "nas_bench_201", path) for path in paths]
    write_table(out, signed(as_table(rows), sources))
    return len(rows), left_out


def _results(path: Path) -> tuple[list[Architecture], dict[str, np.ndarray], list[str]]:
    """The cells of a file in its order of them, its results by column, and its other columns."""
    from winnow.spaces.nas_bench_201 import from_string

    given = _read(path)
    try:
        cells = [from_string(text) for text in given["arch_str"].to_pylist()]
    except ValueError as error:
        raise Refused(f"{path}: {error}") from error
    if len(cells) != COUNT or len(set(cells)) != COUNT:
        raise Refused(f"{path} has {len(cells)} rows of {len(set(cells))} cells; the benchmark has {COUNT}, each once")
    columns = {name: _checked(path, name, given[name]) for name in given.column_names if _result(name)}
    if not columns:
        raise Refused(f"{path} has no column like cifar10_valid_200, only {', '.join(given.column_names)}")
    _check_epochs(path, columns, given)
    return cells, columns, [name for name in given.column_names if name not in (*columns, "index", "arch_str")]


def _row(number: int, cell: Architecture, metrics: Mapping[str, float], fidelity: Mapping[str, float]) -> Row:
    text = cell.to_json()
    return Row(number, text, cell.digest, text, {}, {}, metrics, COMPLETE, None, 0, fidelity, 0.0, "nas_bench_201", "")


def _read(path: Path) -> pa.Table:
    return rows_of(path, ("index", "arch_str")).sort_by("index")


def _result(name: str) -> bool:
    parts = itertools.product(DATA_SETS, ("valid", "test"), ("12", "200"))
    return name in {"_".join(each) for each in parts}


def _checked(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    values = column.to_numpy().astype(float)
    if not (np.isfinite(values).all() and values.min() >= 0 and 1.5 < values.max() <= 100):
        raise Refused(f"{path}: {name} takes per cent from 0 to 100, not {values.min():g} to {values.max():g}")
    return values


def _check_epochs(path: Path, columns: Mapping[str, np.ndarray], given: pa.Table) -> None:
    """The full training's CIFAR-10 results reach 91.6 (valid) and 94.4 (test); after 12 epochs none passes 90."""
    for name, values in columns.items():
        if name.startswith("cifar10_") and (values.max() > 90) != name.endswith("_200"):
            raise Refused(f"{path}: {name} reaches {values.max():.2f}; that is not what {name[8:]} of CIFAR-10 reaches")
    index, name, value = BEST
    if name in columns:
        place = given["index"].to_pylist().index(index) if index in given["index"].to_pylist() else -1
        if place < 0 or abs(columns[name][place] - value) > 1e-3 or columns[name].argmax() != place:
            raise Refused(f"{path}: the best {name} is {value} at index {index} in the benchmark, not here")


def _cost(cell: Architecture) -> dict[str, float]:
    """Closed form for CIFAR-10: the skeleton, and what each convolution of the cell adds."""
    ops = list(cell.values())
    n1, n3 = ops.count("nor_conv_1x1"), ops.count("nor_conv_3x3")
    return {
        "params": 73_306.0 + 243_040 * n3 + 28_000 * n1,
        "macs": 7_783_040.0 + 35_389_440 * n3 + 3_932_160 * n1,
    }
