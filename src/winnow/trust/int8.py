"""What the ranges of activations are taken from where a finished model becomes one of eight bits: inputs of select.

No accuracy is measured there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.int8 import ROWS
from winnow.run.model import prepared
from winnow.tasks import USUAL, task_named


def calibration(folder: Path, about: Mapping[str, Any]) -> Tensor:
    """Up to `ROWS` inputs of split select, as the network takes them. Refused where there are none of its kind."""
    splits, task = folder / files.SPLITS, task_named(about.get("task", USUAL))
    if not (splits / "select.parquet").is_file():
        raise Refused(
            f"int8: the ranges of activations are taken from split select, and {splits} has none: run `winnow prepare` "
            "where the data are, or leave --int8 out"
        )
    split = open_split(splits, "select", task, stage="select")
    if split.facts["shape"] != about["shape"]:
        raise Refused(
            f"int8: split select in {splits} holds inputs of {split.facts['shape']}, the network takes "
            f"{about['shape']}: give --folder of its own project, or leave --int8 out"
        )
    return prepared(split.columns[split.inputs.reads[0]][:ROWS], about)
