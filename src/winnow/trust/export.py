"""A model for others: files of several runtimes, checked against PyTorch, the weights, the architecture, their origin.

export/model.onnx          and others of `trust.targets`: images (batch, channels, height, width) or rows → logits
export/model.int8.onnx     the same in eight bits (`--int8`)
export/model.safetensors   the same network; three lines of winnow load it
export/architecture.json   its decisions
export/export.json         of each file size, distance, flips and milliseconds; and the whole chain of `winnow why`
"""

import contextlib
import importlib.metadata
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import winnow
from winnow.config.section import nearest
from winnow.core.errors import Refused, blamed, told
from winnow.core.example import Example, noise
from winnow.data.loaders import open_split
from winnow.data.storage import read_manifest
from winnow.measure.exported import in_pytorch, readings
from winnow.run import files
from winnow.run.int8 import quantise, winners
from winnow.run.model import load_model, prepared
from winnow.run.networks import example_of
from winnow.run.revision import commit_of, md5_of
from winnow.system.extra import needed
from winnow.tasks import USUAL, task_named
from winnow.trust.int8 import calibration
from winnow.trust.targets import TARGETS, Answer, there
from winnow.trust.why import why

LARGEST_ERROR = 1e-3  # of an output, a share of those above 1; what float32 in another order makes is about 1e-5
BATCHES = (1, 7, 64)  # sizes that are fed in turn: the batch is dynamic, or the check fails
SAMPLE = 256  # images of noise where there is no test split, and rows of a target that takes one a call
CALLS, SECONDS = 45, 1.0  # that latency is measured by
INT8 = "model.int8.onnx"
WEIGHTS = "model.safetensors"
DATA = ("mean", "std", "classes", "fields", "dense", "vocabulary", "buckets")  # of what the data have, to feed it by


def export(
    path: Path,
    folder: Path,
    out: Path,
    space: str | None = None,
    to: Sequence[str] = ("onnx",),
    int8: bool = False,
    task: str | None = None,
) -> dict[str, Any]:
    """Write the files above into `out` and return what export.json says.

    `space` and `task` are as `load_model` takes them, `to` are names of `TARGETS`. Refused where `path` is no model, a
    package of an extra is missing, a target lacks an operator, or a file is further from PyTorch than `LARGEST_ERROR`;
    then `out` is as it was.
    """
    _check(to, int8)
    model, about = load_model(path, space, task)
    x, answers, checked_on = _inputs(folder, about)
    ranges = calibration(folder, about) if int8 else None
    told = _told(path, folder, about)
    with tempfile.TemporaryDirectory() as passing:
        made = Path(passing)
        facts = _write(model, about, {**about, "provenance": about.get("provenance", {}), "exported": told}, to, made)
        asked = {TARGETS[name].file: name for name in to}
        if ranges is not None:
            quantise(made / TARGETS["onnx"].file, ranges, made / INT8)
            asked[INT8] = "onnx"
        expected = answered(model, x)
        rows = [_row(made / file, name, expected, x, answers, about) for file, name in asked.items()]
        as_trained = {"file": WEIGHTS, "target": "winnow", "bytes": path.stat().st_size, "rows": len(x)}
        rows = [{**row, **facts.get(row["file"], {})} for row in rows]
        rows.insert(0, as_trained | {"measured": _measured(expected, answers, about)})
        opened = {path: model, **{made / file: _opened(made / file, name) for file, name in asked.items()}}
        _time(rows, opened, x[:1])
        result = {
            **_of_onnx(rows, made, expected, x),
            "targets": rows,
            "images": len(x),
            "checked_on": checked_on,
            "versions": _versions(to),
            "model_md5": told["model_md5"],
            **{key: about[key] for key in DATA if key in about},
            "why": [asdict(step) for step in why(path, folder)],
        }
        if ranges is not None:
            result["int8"] = {"calibrated_on": f"{len(ranges)} rows of split select"}
            result["int8"] |= _menu(folder, space, task, rows, ranges, x, answers, about)
        for file in asked:
            _put(made / file, out / file)
    _put(path, out / WEIGHTS)
    choices = {"space": about["space"], "digest": about["digest"], "choices": about["choices"]}
    files.write_json(out / "architecture.json", {"format": files.ARCHITECTURE_FORMAT, **choices})
    files.write_json(out / "export.json", result)
    return result


def _check(to: Sequence[str], int8: bool) -> None:
    for name in to:
        if name not in TARGETS:
            raise Refused(f"--to takes {', '.join(TARGETS)}, with commas between, not {name!r}{nearest(name, TARGETS)}")
        there(name)
    if int8 and "onnx" not in to:
        raise Refused("--int8 makes eight bits of the ONNX model: add onnx to --to")


def _write(
    model: nn.Module, about: Mapping[str, Any], origin: Mapping[str, Any], to: Sequence[str], made: Path
) -> dict[str, dict[str, Any]]:
    """The file of each target, and what is known of it. Refused where one cannot take it, naming those that can."""
    found = {}
    for name in to:
        file = TARGETS[name].file
        try:
            found[file] = TARGETS[name].write(model, _example(about), origin, made / file)
        except Refused as refusal:
            others = [each for each in TARGETS if each != name and _takes(each, model, about, made)]
            hint = f"; {' and '.join(others)} can take it: --to {','.join(others)}" if others else ""
            raise Refused(f"{refusal}{hint}") from refusal
    return found


def _takes(name: str, model: nn.Module, about: Mapping[str, Any], made: Path) -> bool:
    try:
        there(name).write(model, _example(about), {}, made / TARGETS[name].file)
    except Refused:
        return False
    return True


def _opened(path: Path, name: str) -> Answer | None:
    """How the file answers; None where its runtime is not here."""
    try:
        return TARGETS[name].opened(path)
    except LookupError:
        return None


def answered(answer: Answer, x: Tensor, most: int | None = None, name: str | None = None) -> Tensor:
    """What `answer` says to each row of x (rows, ...), over batches of several sizes, or of `most` rows.

    It is that of the file `name`, or the network itself.
    """
    found: list[Tensor] = []
    start = 0
    while start < len(x):
        batch = x[start : start + (most or BATCHES[len(found) % len(BATCHES)])]
        try:
            with (
                torch.no_grad(),
                contextlib.nullcontext() if name else blamed(f"the network, given a batch of {len(batch)}"),
            ):
                found.append(answer(batch))
        except Exception as error:  # of a runtime, each of which has a dozen kinds without a common one
            if name is None:
                raise
            raise Refused(f"not exported: {name} does not run by {len(batch)}: {told(error)}") from error
        start += len(batch)
    return torch.cat(found)


def _row(
    path: Path, name: str, expected: Tensor, x: Tensor, answers: Tensor | None, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Size; where its runtime is here, how far it is from PyTorch, on how many rows, and what it decides otherwise."""
    target, answer = TARGETS[name], _opened(path, name)
    parts = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    row: dict[str, Any] = {"file": path.name, "target": name, "bytes": sum(each.stat().st_size for each in parts)}
    if answer is None:
        return row
    rows = len(x) if target.most is None else min(len(x), SAMPLE)
    found, wanted = answered(answer, x[:rows], target.most, path.name), expected[:rows]
    error = float((found - wanted).abs().max())
    if not ((found - wanted).abs() <= LARGEST_ERROR * wanted.abs().clamp(min=1)).all() and path.name != INT8:
        raise Refused(f"{path.name} is {error:.3g} away from PyTorch, more than {LARGEST_ERROR}: not exported")
    decided = task_named(about.get("task", USUAL)).decided
    flips = None if decided is None else float((decided(wanted) != decided(found)).double().mean())
    measured = _measured(found, None if answers is None else answers[:rows], about)
    return row | {"rows": rows, "max_error": error, "flips": flips, "measured": measured}


def _measured(outputs: Tensor, answers: Tensor | None, about: Mapping[str, Any]) -> dict[str, float]:
    """What the task measures; empty where no answers are known."""
    if answers is None:
        return {}
    task = task_named(about.get("task", USUAL))
    told = task.measure([outputs], [answers])
    return {key: float(told[key]) for key in task.metrics}


def _time(rows: Sequence[dict[str, Any]], opened: Mapping[Path, Answer | None], x: Tensor) -> None:
    """Adds the milliseconds of one input `x` (1, ...), in turns, with the threads that PyTorch has here."""
    here = [row for row, answer in zip(rows, opened.values(), strict=True) if answer is not None]
    calls = [in_pytorch(path, answer, x, {}) for path, answer in opened.items() if answer is not None]
    for row, reading in zip(here, readings(calls, CALLS, SECONDS, lambda text: None), strict=True):
        told = reading.row()
        runtime = TARGETS[row["target"]].runtime() if row["target"] in TARGETS else f"torch {torch.__version__}"
        row |= {"ms": told["ms"], "low": told["low"], "high": told["high"], "runtime": runtime}


def _of_onnx(rows: Sequence[Mapping[str, Any]], made: Path, expected: Tensor, x: Tensor) -> dict[str, Any]:
    """Of model.onnx, where it is: what export.json has always said of it."""
    found = next((row for row in rows if row["file"] == TARGETS["onnx"].file), None)
    if found is None:
        return {}
    path = made / TARGETS["onnx"].file
    told: dict[str, Any] = {"max_error": found["max_error"], "onnx_md5": md5_of(path)}
    if found["flips"] is not None:
        told["agreeing"] = 1 - found["flips"]
    if found["measured"]:
        told["measured"] = {k: {"pytorch": rows[0]["measured"][k], "onnx": v} for k, v in found["measured"].items()}
    return told | {"opset": needed("onnx").load(str(path), load_external_data=False).opset_import[0].version}


def _versions(to: Sequence[str]) -> dict[str, str]:
    names = {"torch", *(module.partition(".")[0] for name in to for module in TARGETS[name].needs)}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def _menu(
    folder: Path,
    space: str | None,
    task: str | None,
    rows: Sequence[Mapping[str, Any]],
    ranges: Tensor,
    x: Tensor,
    answers: Tensor | None,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """The networks of select.front beside the found one, in floats and in eight bits, and whether the best changes."""
    menu = sorted((folder / files.MENU).glob("*.safetensors"))
    if answers is None or not menu:
        return {}
    key, metric = next(iter(task_named(about.get("task", USUAL)).metrics.items()))
    int8 = next(row for row in rows if row["file"] == INT8)
    told = [{"name": "the found network", "float": rows[0]["measured"][key], "int8": int8["measured"][key]}]
    for path in menu:
        model, of = load_model(path, space, task)
        with tempfile.TemporaryDirectory() as passing:
            made = Path(passing)
            _write(model, of, {}, ["onnx"], made)
            quantise(made / TARGETS["onnx"].file, ranges, made / INT8)
            sides = (answered(model, x), answered(TARGETS["onnx"].opened(made / INT8), x, name=path.name))
        scores = (_measured(each, answers, about)[key] for each in sides)
        told.append({"name": path.stem, **dict(zip(("float", "int8"), scores, strict=True))})
    return {"metric": key, "menu": told, "winner": winners(told, metric.sign)}


def _example(about: Mapping[str, Any]) -> Example:
    return example_of(about["facts"]) if "facts" in about else tuple(about["shape"])


def _inputs(folder: Path, about: Mapping[str, Any]) -> tuple[Tensor, Tensor | None, str]:
    """What the network takes, its answers, and what it is in words: the model's own test split, else noise."""
    told = about.get("provenance", {}).get("data", {}).get("splits", {}).get("test")
    task, splits = about.get("task", USUAL), folder / files.SPLITS
    if (splits / "manifest.json").is_file() and read_manifest(splits)["task"] == task:
        test = open_split(splits, "test", task_named(task), stage="evaluate")  # of a network that is finished
        if told in (None, test.digest) and test.facts["shape"] == about["shape"]:
            return (
                prepared(test.held(test.inputs.reads[0], "winnow export"), about),
                test.answers,
                f"test split {test.digest}",
            )
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
    if source.is_dir():  # a package of Core ML
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.resolve() != target.resolve():
        with files.atomic(target) as temporary:
            shutil.copyfile(source, temporary)
