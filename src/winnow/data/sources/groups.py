"""Whose a row is (a speaker, a patient), as a column of Parquet files says, and whole groups held out for the test."""

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from winnow.core.errors import Refused
from winnow.data.sources.columns import cast, read_column

NAMED = 12
OPTION = "data.options.group_column"


def read_groups(files: Sequence[Path], column: str) -> np.ndarray:
    """(rows,) text: the group of each row of the files. Refused where one is null or no name."""
    found = []
    for file in files:
        values = read_column(file, column, OPTION)
        if values.null_count:
            raise Refused(f"{file.name}: {values.null_count} of {len(values)} values in column {column!r} are null")
        whole = pa.types.is_integer(values.type) or pa.types.is_string(values.type)
        text = cast(values, pa.string()) if whole else None
        if text is None:
            raise Refused(f"{file.name}: column {column!r} holds {values.type}; groups are whole numbers or texts")
        found.append(text.to_numpy().astype(str))
    return np.concatenate(found)


def held_out(groups: np.ndarray, chosen: Sequence[str | int]) -> np.ndarray:
    """(rows,) bool: the rows of the groups `chosen` for the test. Refused where there is none such, or nothing else."""
    names, wanted = np.unique(groups), [str(name) for name in chosen]
    for name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names.tolist(), 1)
            hint = f"; nearest: {close[0]!r}" if close else ""
            raise Refused(f"data.options.test_groups: there is no group {name!r}{hint} (there are {_some(names)})")
    if len(set(wanted)) == len(names):
        raise Refused(f"data.options.test_groups names all groups ({_some(names)}); leave some for training")
    return np.isin(groups, wanted)


def check_apart(train: np.ndarray, test: np.ndarray) -> None:
    """Refuse groups that are in training and in the test set."""
    if len(both := np.intersect1d(train, test)):
        raise Refused(
            f"{len(both)} group(s) are in the training files and in the test files ({_some(both)}): "
            "name those to hold out in data.options.test_groups, or leave data.options.group_column out"
        )


def _some(names: Sequence[str] | np.ndarray) -> str:
    return ", ".join(map(str, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
