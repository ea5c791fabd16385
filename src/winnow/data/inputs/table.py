"""Rows of flat columns: categories by the place of their key in a vocabulary, numbers brought to mean 0, deviation 1.

A network is given one float tensor (batch, fields + dense), the ids first: float32 holds whole numbers up to 2^24
exactly, and one tensor goes through loaders, latency, export and MLflow as an image does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.core.errors import Refused
from winnow.data.source import Columns, Source

CELLS = "cells"  # the column: float64 (fields + dense,), keys of categories first; NaN is missing
UNSEEN, MISSING, FIRST = 0, 1, 2  # ids that every field has, and that of its first known value
MOST = 2**24 - FIRST  # values of a field


class Table:
    """x (b, fields + dense) float32: ids as whole numbers, then numbers, 0 where one is missing.

    `facts` are those of `checked` and `learnt`.
    """

    reads = (CELLS,)

    def __init__(self, facts: Mapping[str, Any], augment: None = None):
        self.fields, self.hashed = len(facts["fields"]), bool(facts["buckets"])
        widest = max(map(len, facts["vocabulary"]), default=0)
        known = np.full((self.fields, widest), np.inf)
        for row, keys in zip(known, facts["vocabulary"], strict=True):
            row[: len(keys)] = keys
        self.known = torch.from_numpy(known)
        self.moments = torch.tensor([facts["mean"], facts["std"]], dtype=torch.float64).view(2, -1)
        if self.moments.shape[1] != len(facts["dense"]):
            raise ValueError(f"{self.moments.shape[1]} means and deviations of {len(facts['dense'])} columns")
        self.moments[1][self.moments[1] == 0] = 1  # a column of one value becomes 0, not NaN

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def make(self, columns: Mapping[str, Tensor], draws: Mapping[str, Tensor]) -> Tensor:
        cells = columns[CELLS]
        if self.known.device != cells.device:
            self.known, self.moments = self.known.to(cells.device), self.moments.to(cells.device)
        numbers = (cells[:, self.fields :] - self.moments[0]) / self.moments[1]
        return torch.cat([self.ids(cells), numbers.nan_to_num(0.0)], 1).float()

    def ids(self, cells: Tensor) -> Tensor:
        """(b, fields) whole numbers of the keys (b, fields, ...)."""
        keys = cells[:, : self.fields]
        if self.hashed:
            ids = keys + FIRST
        elif self.known.shape[1]:
            turned = keys.T.contiguous()
            places = torch.searchsorted(self.known, turned).clamp_(max=self.known.shape[1] - 1)
            ids = torch.where(self.known.gather(1, places) == turned, places + FIRST, UNSEEN).T
        else:
            ids = torch.full_like(keys, UNSEEN)
        return torch.where(keys.isnan(), MISSING, ids)


def augmented(facts: Mapping[str, Any]) -> None:
    """Rows of a table have no augmentation."""


def sizes_of(facts: Mapping[str, Any]) -> dict[str, int]:
    """How many ids each field has: unseen, missing, and its known values."""
    counts = [facts["buckets"]] * len(facts["fields"]) if facts["buckets"] else map(len, facts["vocabulary"])
    return {name: FIRST + count for name, count in zip(facts["fields"], counts, strict=True)}


def checked(source: Source) -> Source:
    """The source with all facts of its columns; Refused where they are none of a table."""
    facts = {"fields": [], "dense": [], "min_count": 1, "buckets": 0, "ordered": False, **source.facts}
    names = [*facts["fields"], *facts["dense"]]
    if not names or len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
        raise Refused(f"the source's facts fields and dense name its columns, each once; they are {names}")
    for name, part in source.parts().items():
        if CELLS not in part.columns:
            raise Refused(f"the {name} part has columns {', '.join(part.columns)} and no {CELLS!r}")
        cells = part.columns[CELLS]
        if cells.ndim != 2 or cells.dtype.kind != "f" or cells.shape[1] != len(names):
            raise Refused(
                f"the {name} cells are {cells.dtype} of shape {cells.shape}; it takes real numbers (rows, "
                f"{len(names)}), one for each of {', '.join(names[:8])}"
            )
        if np.isinf(cells).any():
            raise Refused(f"{np.isinf(cells).sum()} {name} cell(s) are infinite; write NaN where one is missing")
    parts = {name: _float64(part) for name, part in source.parts().items()}
    return replace(source.with_parts(parts), facts=facts)


def _float64(part: Any) -> Any:
    return replace(part, columns={**part.columns, CELLS: part.columns[CELLS].astype(np.float64)})


def learnt(parts: Sequence[Columns], facts: Mapping[str, Any]) -> dict[str, Any]:
    """`vocabulary`: sorted keys of each field; `mean` and `std` of each number that is there; `shape` of a row."""
    cells = np.concatenate([part[CELLS] for part in parts])
    count = len(facts["fields"])
    vocabulary = [] if facts["buckets"] else [_known(column, facts["min_count"]) for column in cells[:, :count].T]
    vocabulary = vocabulary or [[] for _ in range(count)]
    if large := [name for name, keys in zip(facts["fields"], vocabulary, strict=True) if len(keys) > MOST]:
        raise Refused(f"column {large[0]!r} has more than {MOST} values; set data.options.buckets to hash them")
    numbers = cells[:, count:]
    there = ~np.isnan(numbers)
    seen = np.maximum(there.sum(0), 1)
    mean = np.where(there, numbers, 0).sum(0) / seen
    std = np.sqrt((np.where(there, numbers - mean, 0) ** 2).sum(0) / seen)
    return {
        "vocabulary": vocabulary,
        "mean": mean.tolist(),
        "std": std.tolist(),
        "shape": [cells.shape[1]],
    }


def _known(keys: np.ndarray, least: int) -> list[int | float]:
    values, counts = np.unique(keys[~np.isnan(keys)], return_counts=True)
    return [int(value) if value.is_integer() else value for value in values[counts >= least].tolist()]


def unseen(columns: Columns, facts: Mapping[str, Any]) -> dict[str, int]:
    """In how many rows each field holds a value that training has not, by name; none where values are hashed."""
    cells = columns[CELLS]
    ids = Table(facts).ids(torch.from_numpy(cells[:, : len(facts["fields"])].copy())).numpy()
    counts = (ids == UNSEEN).sum(0).tolist()
    return {name: count for name, count in zip(facts["fields"], counts, strict=True) if count}
