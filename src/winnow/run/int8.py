"""Eight bits after training: a model.onnx of whole numbers, what it reaches, and whether the same network wins in it.

ONNX Runtime's static quantisation (QDQ, a scale for each output channel of a weight).
"""

import copy
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused, told
from winnow.core.example import Example
from winnow.data.loaders import Split, in_order
from winnow.run.exporting import as_onnx, in_onnxruntime, quiet
from winnow.system.extra import needed
from winnow.tasks.task import Task
from winnow.train.evaluate import measured
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import Row

ROWS, BATCH = 512, 64  # what ranges are taken from
PREFIX = "int8_"  # of a metric of the task, as a trial has it in eight bits


def judge_in_eight_bits(
    task: Task, example: Example, ranges: Split, judged: Split, batch: int
) -> Callable[[nn.Module], dict[str, float]]:
    """What gives the metrics of `task` on `judged`, each as int8_NAME, of a trained network that takes `example`.

    The ranges of its activations are what the first `ROWS` inputs of `ranges` give. The network stays as it was.
    Refused where the packages of the extra onnx are not here; and, of a network, where it has no ONNX form.
    """
    for module in ("onnx", "onnxscript", "onnxruntime"):
        needed(module)

    def judge(model: nn.Module) -> dict[str, float]:
        x = torch.cat([each.cpu() for each, _ in in_order(ranges, BATCH)][: -(-ROWS // BATCH)])[:ROWS]
        with tempfile.TemporaryDirectory() as passing:
            floats, whole = (Path(passing) / name for name in ("model.onnx", "model.int8.onnx"))
            as_onnx(copy.deepcopy(model).cpu().eval(), example).save(str(floats), include_initializers=True)
            quantise(floats, x.contiguous(), whole)
            answer = in_onnxruntime(whole)
            found = measured(task, lambda x: answer(x.cpu().contiguous()), _on_cpu(judged, batch))
        return {f"{PREFIX}{name}": float(found[name]) for name in task.metrics}

    return judge


def _on_cpu(split: Split, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    return ((x, y.cpu()) for x, y in in_order(split, batch))


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
        f"the winner changes: {before['name']} is best in floats ({before['float']:.4g}; int8 {before['int8']:.4g}), "
        f"{after['name']} is best in int8 ({after['int8']:.4g}; floats {after['float']:.4g})"
    )


def winner_in_eight_bits(task: Task, rows: Sequence[Row]) -> str | None:
    """A sentence where trials were judged in eight bits too and another feasible one is best there."""
    floats, whole = task.metric, f"{PREFIX}{task.metric}"
    judged = [row for row in rows if row.state == COMPLETE and row.feasible and {floats, whole} <= row.metrics.keys()]
    told = [{"name": f"trial {r.number}", "float": r.metrics[floats], "int8": r.metrics[whole]} for r in judged]
    return winners(told, task.first.sign) if told else None
