"""Eight bits after training: a model.onnx of whole numbers, and whether the same network wins in it.

ONNX Runtime's static quantisation (QDQ, a scale for each output channel of a weight). The ranges of activations are
what inputs of split `select` give; no accuracy is measured there.
"""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from winnow.core.errors import Refused, told
from winnow.data.loaders import open_split
from winnow.run import files
from winnow.run.exporting import quiet
from winnow.run.model import prepared
from winnow.system.extra import needed
from winnow.tasks import USUAL, task_named

ROWS, BATCH = 512, 64  # what ranges are taken from


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


def quantise(source: Path, x: Tensor, path: Path) -> None:
    """Write `source`, a model.onnx, in eight bits to `path`; `x` (rows, ...) is what ranges are taken from."""
    tools = needed("onnxruntime.quantization")
    shape_inference = needed("onnxruntime.quantization.shape_inference")
    name = needed("onnx").load(str(source), load_external_data=False).graph.input[0].name

    class Rows(tools.CalibrationDataReader):  # type: ignore[name-defined]
        def __init__(self) -> None:
            self.batches: Iterator[Tensor] = iter(x.split(BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {name: batch.numpy()}

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with quiet(), tempfile.TemporaryDirectory() as passing:
            ready = Path(passing) / "ready.onnx"
            shape_inference.quant_pre_process(str(source), str(ready))
            tools.quantize_static(str(ready), str(path), Rows(), per_channel=True)
    except Exception as error:  # of onnxruntime and onnx
        raise Refused(f"int8: ONNX Runtime does not quantise the model: {told(error)}") from error
    finally:
        logging.disable(before)


def winners(rows: Sequence[Mapping[str, Any]], sign: int) -> str | None:
    """A sentence where the best network is another in eight bits; `rows` have `name`, `float` and `int8` scores."""
    before, after = (max(rows, key=lambda row, side=side: sign * row[side]) for side in ("float", "int8"))
    if before["name"] == after["name"]:
        return None
    return (
        f"the winner changes: {before['name']} is best in floats ({before['float']:.2f}; int8 {before['int8']:.2f}), "
        f"{after['name']} is best in int8 ({after['int8']:.2f}; floats {after['float']:.2f})"
    )
