"""A model for others: ONNX that was checked against PyTorch, the weights, the architecture, and where all came from.

export/model.onnx          images (batch, channels, height, width) or rows, as `run.model.prepared` makes them → logits
export/model.safetensors   the same network; three lines of winnow load it
export/architecture.json   its decisions
export/export.json         how far the two were apart, on what, and the whole chain of `winnow why`
"""

import contextlib
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import winnow
from winnow.core.errors import Refused, blamed, told
from winnow.core.example import Example, noise
from winnow.data.loaders import open_split
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.exporting import OUTPUT, as_onnx
from winnow.run.model import load_model, prepared
from winnow.run.networks import example_of
from winnow.run.revision import commit_of, md5_of
from winnow.system.extra import needed
from winnow.tasks import USUAL, task_named
from winnow.trust.origin import METADATA
from winnow.trust.why import why

LARGEST_ERROR = 1e-3  # of a logit; what float32 in another order makes is about 1e-5
BATCHES = (1, 7, 64)  # sizes that are fed in turn: the batch is dynamic, or the check fails
SAMPLE = 256  # images of noise where there is no test split
DATA = ("mean", "std", "classes", "fields", "dense", "vocabulary", "buckets")  # of what the data have, to feed it by


def export(path: Path, folder: Path, out: Path, space: str | None = None) -> dict[str, Any]:
    """Write the four files above into `out` and return what export.json says.

    `space` is as `load_model` takes it. Refused where `path` is no model, a package of the extra is missing, or ONNX
    and PyTorch are further apart than `LARGEST_ERROR`; then `out` is as it was.
    """
    onnx, runtime = needed("onnx"), needed("onnxruntime")
    needed("onnxscript")
    model, about = load_model(path, space)
    x, answers, checked_on = _inputs(folder, about)
    told = _told(path, folder, about)
    with tempfile.TemporaryDirectory() as passing:
        made = Path(passing)
        program = as_onnx(model, _example(about))
        program.save(str(made / "model.onnx"), include_initializers=True)
        loaded = onnx.load(str(made / "model.onnx"))
        content = {key: about[key] for key in about if key != "provenance"}
        embedded = {**content, "provenance": about.get("provenance", {}), "exported": told}
        onnx.helper.set_model_props(loaded, {METADATA: json.dumps(embedded, sort_keys=True)})
        onnx.checker.check_model(loaded, full_check=True)
        onnx.save(loaded, str(made / "model.onnx"))
        expected, found = both(model, made / "model.onnx", x, runtime)
        error = float((found - expected).abs().max())
        if not error <= LARGEST_ERROR:
            raise Refused(f"the ONNX model is {error:.3g} away from PyTorch, more than {LARGEST_ERROR}: not exported")
        result = {
            "max_error": error,
            **_agreement(about, expected, found, answers),
            "images": len(x),
            "checked_on": checked_on,
            "opset": loaded.opset_import[0].version,
            "versions": {n: importlib.metadata.version(n) for n in ("torch", "onnx", "onnxscript", "onnxruntime")},
            "model_md5": told["model_md5"],
            "onnx_md5": md5_of(made / "model.onnx"),
            **{key: about[key] for key in DATA if key in about},
            "why": [asdict(step) for step in why(path, folder)],
        }
        _put(made / "model.onnx", out / "model.onnx")
    _put(path, out / "model.safetensors")
    choices = {"space": about["space"], "digest": about["digest"], "choices": about["choices"]}
    files.write_json(out / "architecture.json", {"format": files.ARCHITECTURE_FORMAT, **choices})
    files.write_json(out / "export.json", result)
    return result


def both(model: nn.Module, path: Path, x: Tensor, runtime: Any) -> tuple[Tensor, Tensor]:
    """What PyTorch and ONNX answer to each row, over batches of any size.

    `x` (rows, ...) as the network takes it; `runtime` is onnxruntime.
    """
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    try:
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, which has a dozen kinds without a common one
        raise Refused(f"not exported: ONNX Runtime does not take the model: {told(error)}") from error
    size = session.get_inputs()[0].shape[0]
    if isinstance(size, int):
        raise Refused(
            f"not exported: the ONNX model takes batches of {size} only, as something in forward makes a number of the "
            "batch size (len(x), affine_grid, ...); write it with x.shape[0], or take another layer"
        )
    answers: list[tuple[Tensor, Tensor]] = []
    start, turn = 0, 0
    while start < len(x):
        batch = x[start : start + BATCHES[turn % len(BATCHES)]]
        with torch.no_grad(), blamed(f"the network, given a batch of {len(batch)}"):
            expected = model(batch)
        try:
            found = torch.from_numpy(session.run([OUTPUT], {session.get_inputs()[0].name: batch.numpy()})[0])
        except Exception as error:  # likewise
            raise Refused(f"not exported: the ONNX model does not run by {len(batch)}: {told(error)}") from error
        answers.append((expected, found))
        start, turn = start + len(batch), turn + 1
    one, other = zip(*answers, strict=True)
    return torch.cat(one), torch.cat(other)


def _agreement(about: Mapping[str, Any], expected: Tensor, found: Tensor, answers: Tensor | None) -> dict[str, Any]:
    """The share of rows with the same first class, where there are several; with answers, what the task measures."""
    told: dict[str, Any] = {}
    if expected.dim() == 2 and expected.shape[1] > 1:
        told["agreeing"] = float((found.argmax(1) == expected.argmax(1)).double().mean())
    if answers is not None:
        task = task_named(about.get("task", USUAL))
        sides = {name: task.measure([each], [answers]) for name, each in (("pytorch", expected), ("onnx", found))}
        told["measured"] = {key: {name: side[key] for name, side in sides.items()} for key in task.metrics}
    return told


def _example(about: Mapping[str, Any]) -> Example:
    return example_of(about["facts"]) if "facts" in about else tuple(about["shape"])


def _inputs(folder: Path, about: Mapping[str, Any]) -> tuple[Tensor, Tensor | None, str]:
    """What the network takes, its answers, and what it is in words: the model's own test split, else noise."""
    told = about.get("provenance", {}).get("data", {}).get("splits", {}).get("test")
    task, splits = about.get("task", USUAL), folder / files.SPLITS
    if (splits / "manifest.json").is_file() and read_manifest(splits)["task"] == task:
        test = open_split(splits, "test", task_named(task), stage="evaluate")  # of a network that is finished
        if told in (None, test.digest) and test.facts["shape"] == about["shape"]:
            return prepared(test.columns[test.inputs.reads[0]], about), test.answers, f"test split {test.digest}"
    made = noise(_example(about), torch.Generator().manual_seed(0), SAMPLE).contiguous()
    return made, None, f"{SAMPLE} images of noise: the model's test split is not here"


def _told(path: Path, folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into the ONNX file beside what the model says of itself: which file, commit and runs it is of."""
    steps = {step.name: step for step in why(path, folder)}
    told = {"model_md5": md5_of(path), "winnow": winnow.__version__, "runs": steps["MLflow runs"].facts}
    with contextlib.suppress(Refused):  # outside a repository there is no commit to tell
        told["commit"] = commit_of(folder, "HEAD")
    return told


def _put(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        with files.atomic(target) as temporary:
            shutil.copyfile(source, temporary)
