"""A network as a program for others: of ONNX, and of torch.export, which other targets are made from."""

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.core.errors import Refused, told
from winnow.core.example import Example, zeros
from winnow.measure.cost import quantised
from winnow.system.extra import needed

OUTPUT = "logits"
FIXED = (
    "as something in forward makes a number of the batch size (len(x), affine_grid, ...); write it with x.shape[0], or "
    "take another layer"
)
Answer = Callable[[Tensor], Tensor]


def as_onnx(model: nn.Module, example: Example) -> Any:
    """An ONNX program that takes any batch. Refused where there is no ONNX form of what the network does."""
    refuse_bits(model)
    batch, given = torch.export.Dim("batch", min=1), _two(example)
    try:
        with quiet():
            return torch.onnx.export(
                model,
                (given,),
                dynamo=True,
                dynamic_shapes=({0: batch},),
                input_names=["images" if given.dim() == 4 else "rows"],
                output_names=[OUTPUT],
            )
    except torch.onnx.OnnxExporterError as error:
        raise Refused(f"not exported: {_reason(error)}") from error


def in_onnxruntime(path: Path) -> Answer:
    """Refused where it does not take the model, or that takes batches of one size only."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, which has a dozen kinds without a common one
        raise Refused(f"not exported: ONNX Runtime does not take the model: {told(error)}") from error
    given = session.get_inputs()[0]
    if isinstance(given.shape[0], int):
        raise Refused(f"not exported: the ONNX model takes batches of {given.shape[0]} only, {FIXED}")
    return lambda batch: torch.from_numpy(session.run([OUTPUT], {given.name: batch.numpy()})[0])


def as_program(model: nn.Module, example: Example, *, fixed: bool = False) -> torch.export.ExportedProgram:
    """A program of torch.export that takes any batch; `fixed`: of one row. Refused where it cannot follow `forward`."""
    given = _two(example)
    shapes = None if fixed else ({0: torch.export.Dim("batch", min=1)},)
    try:
        with quiet():
            return torch.export.export(model, (given[:1] if fixed else given,), dynamic_shapes=shapes)
    except Exception as error:  # of torch.export, which has a dozen kinds without a common one
        raise Refused(f"not exported: {_reason(error)}") from error


def refuse_bits(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if quantised(module):
            raise Refused(
                f"not exported: layer {name!r} multiplies weights of {module.weight_bits} bits by inputs of "
                f"{module.activation_bits}, and winnow writes no such convolution to ONNX: it would run as one of "
                "floats, as large and as slow. model.safetensors holds its float weights and the clip of its inputs, "
                "for a backend that has these bits; docs/one-shot.md says how they are rounded"
            )


def _two(example: Example) -> Tensor:
    """A batch of two, since one would be taken for always one. Refused where a network takes several inputs."""
    made = zeros(example, 2)
    if not isinstance(made, Tensor):
        raise Refused("not exported: the network takes several inputs by name, and one tensor can be exported")
    return made.clone()


def _reason(error: BaseException) -> str:
    """What the exporter cannot take, out of the first of the exceptions that led to this one."""
    while error.__cause__ is not None:
        error = error.__cause__
    operator = re.search(r"op='([\w.:]+)'", str(error))
    if operator is not None:
        return f"PyTorch's exporter has no ONNX form of the operator {operator[1]}; take another layer in its place"
    if "specialized it to be a constant" in str(error):
        return f"the program takes batches of one size only, {FIXED}"
    if "data-dependent" in str(error):
        _, _, line = told(error).partition("\n")
        return "forward decides by values, as `if x.mean() > 0` does, and a program holds one way only" + (
            line and f"\n{line}"
        )
    return told(error)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of packages that nobody here needs."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what fails is told in a sentence
    silent = io.StringIO()
    try:
        with contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
