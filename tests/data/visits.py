"""Small tables of clicks made on the spot."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from winnow.data.source import Options, Part, Source


def visits(rows: int = 1200, seed: int = 0) -> dict[str, object]:
    """Users and items that fit or do not, a price that matters, an hour and a weekend that do not; times that rise."""
    rng = np.random.default_rng(seed)
    factors = np.random.default_rng(1).normal(0, 1, (2, 12, 3))
    user, item, price = rng.integers(0, 12, rows), rng.integers(0, 12, rows), rng.normal(20.0, 5.0, rows)
    logit = 1.5 * (factors[0][user] * factors[1][item]).sum(1) - 0.15 * (price - 20)
    return {
        "user": user.astype(np.int32),
        "item": np.array([f"item {i}" for i in item]),
        "hour": rng.integers(0, 24, rows).astype(np.int8),
        "weekend": rng.random(rows) < 0.3,
        "price": price,
        "at": np.arange(rows) + 1_600_000_000,
        "click": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8),
    }


def clicked(options: Options) -> Source:
    """The same as a source, without a file; hours go by the name of years, as a recipe has them."""
    given = visits()
    names = np.unique(given["item"], return_inverse=True)[1]
    cells = np.stack([given["user"], names, given["hour"], given["price"]], 1).astype(np.float64)
    facts = {"fields": ["user", "item", "year"], "dense": ["price"]}
    return Source(Part({"cells": cells, "click": given["click"]}), None, facts)


def write_visits(path: Path, rows: int = 1200, seed: int = 0, **instead: object) -> Path:
    """As one Parquet file, with `instead` in the place of columns or beside them; None leaves one out."""
    columns = {**visits(rows, seed), **instead}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: values for name, values in columns.items() if values is not None}), path)
    return path
