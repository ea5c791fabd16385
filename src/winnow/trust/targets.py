"""What a network is handed over as: how each file is written, and how it answers where its runtime is here.

onnx         model.onnx, any batch; ONNX Runtime and all that read ONNX
pt2          model.pt2, any batch; PyTorch without winnow or the network's code (torch.export)
executorch   model.pte, one input a call; ExecuTorch's portable kernels, from phones down to microcontrollers
coreml       model.mlpackage, one input a call; Apple's devices; runs there only
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from winnow.core.errors import Refused
from winnow.core.example import Example
from winnow.run.exporting import Answer, as_onnx, as_program, in_onnxruntime, quiet
from winnow.system.extra import needed
from winnow.trust.origin import METADATA


@dataclass(frozen=True)
class Target:
    """`write(model, example, origin, path)` tells what else is known; `opened(path)` answers a batch, of `most` rows.

    None: of any. LookupError where the runtime is not of this system.
    """

    file: str
    needs: tuple[str, ...]  # modules
    extra: str  # of winnow, which brings them
    write: Callable[[nn.Module, Example, Mapping[str, Any], Path], dict[str, Any]]
    opened: Callable[[Path], Answer]
    runtime: Callable[[], str]
    most: int | None = None


def onnx(model: nn.Module, example: Example, origin: Mapping[str, Any], path: Path) -> dict[str, Any]:
    onnx = needed("onnx")
    as_onnx(model, example).save(str(path), include_initializers=True)
    made = onnx.load(str(path))
    onnx.helper.set_model_props(made, {METADATA: json.dumps(origin, sort_keys=True)})
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, str(path))
    return {}


def pt2(model: nn.Module, example: Example, origin: Mapping[str, Any], path: Path) -> dict[str, Any]:
    with quiet():
        torch.export.save(as_program(model, example), path, extra_files={METADATA: json.dumps(origin, sort_keys=True)})
    return {}


def in_pytorch(path: Path) -> Answer:
    with quiet():
        return torch.export.load(path).module()


def executorch(model: nn.Module, example: Example, origin: Mapping[str, Any], path: Path) -> dict[str, Any]:
    with quiet():
        exir = needed("executorch.exir", "executorch")
    program = as_program(model, example, fixed=True)
    try:
        with quiet():
            made = exir.to_edge_transform_and_lower(program).to_executorch()
    except Exception as error:  # of its many passes
        raise Refused(f"not exported: ExecuTorch's portable kernels do not take it: {_line(error)}") from error
    path.write_bytes(made.buffer)
    return {"ram": sum(made.executorch_program.execution_plan[0].non_const_buffer_sizes)}  # planned, beside the file


def in_executorch(path: Path) -> Answer:
    runtime = needed("executorch.runtime", "executorch")
    loaded = runtime.Runtime.get().load_program(path).load_method("forward")
    return lambda batch: torch.as_tensor(loaded.execute([batch])[0]).clone()


def coreml(model: nn.Module, example: Example, origin: Mapping[str, Any], path: Path) -> dict[str, Any]:
    with quiet():
        tools = needed("coremltools", "executorch")
    program = as_program(model, example, fixed=True)
    try:
        with quiet():
            made = tools.convert(_without_aliases(program.run_decompositions({})), convert_to="mlprogram")
            made.user_defined_metadata[METADATA] = json.dumps(origin, sort_keys=True)
            made.save(str(path))
    except Exception as error:  # of its many passes
        raise Refused(f"not exported: Core ML Tools do not take it: {_line(error)}") from error
    return {}


def _without_aliases(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Views that nothing was done to, as dropout leaves them: Core ML Tools know no such operator."""
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
    return program


def in_coreml(path: Path) -> Answer:
    if sys.platform != "darwin":
        raise LookupError("Core ML runs on Apple's systems")
    made = needed("coremltools", "executorch").models.MLModel(str(path))
    name = made.get_spec().description.input[0].name
    return lambda batch: torch.from_numpy(next(iter(made.predict({name: batch.numpy()}).values())))


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _version(module: str, said: str) -> Callable[[], str]:
    return lambda: f"{said} {getattr(needed(module), '__version__', '')}".strip()


TARGETS = {
    "onnx": Target(
        "model.onnx",
        ("onnx", "onnxruntime", "onnxscript"),
        "onnx",
        onnx,
        in_onnxruntime,
        _version("onnxruntime", "onnxruntime"),
    ),
    "pt2": Target("model.pt2", (), "", pt2, in_pytorch, _version("torch", "torch")),
    "executorch": Target(
        "model.pte", ("executorch.exir",), "executorch", executorch, in_executorch, lambda: "executorch, portable", 1
    ),
    "coreml": Target("model.mlpackage", ("coremltools",), "executorch", coreml, in_coreml, lambda: "Core ML", 1),
}


def there(name: str) -> Target:
    """The target. Refused, naming the extra to install, where what writes it is not here."""
    target = TARGETS[name]
    with quiet():  # some warn when they are imported
        for module in target.needs:
            needed(module, target.extra)
    return target
