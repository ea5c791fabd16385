"""The readers of winnow, each with a whole file of its kind: a finished tiny pipeline gives most of them."""

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.fuzz import Target, as_json, as_yaml, json_of, yaml_of
from tests.stages.locked import write_lock
from tests.stages.tiny import ROOT, run_all, tiny
from winnow.config.reading import read_params
from winnow.core.errors import Refused
from winnow.data.loaders import open_split
from winnow.data.source import Options
from winnow.data.sources.cifar10 import RECORD, TEST, TRAIN, cifar10
from winnow.data.sources.image_folder import image_folder
from winnow.data.sources.parquet import parquet
from winnow.data.storage import read_manifest
from winnow.run import files
from winnow.run.benches import read_logits
from winnow.run.model import load_model
from winnow.run.revision import read_lock
from winnow.run.table import true_accuracy
from winnow.run.work import final_space, search_space
from winnow.tasks.classify import IMAGES
from winnow.tracking.facts import flatten
from winnow.trials.lookup import Table
from winnow.trials.table import as_rows, read_table
from winnow.trust import gate
from winnow.trust.origin import read_origin
from winnow.trust.provenance import provenance
from winnow.trust.same import same
from winnow.trust.why import why

Read = Callable[[Path], object]


def targets(folder: Path, finished: Path | None = None) -> list[Target]:
    """One for each reader; `folder` takes the files that are made for it, `finished` is a tiny pipeline that ran."""
    params = tiny()
    (folder / "finished").mkdir()
    done = finished or run_all(params, folder / "finished")
    project = folder / "project"  # for readers that look for a file in its place
    shutil.copytree(done, project)
    shutil.copy(ROOT / "dvc.yaml", project)
    write_lock(project)
    arch = files.read_architecture(done / files.ARCHITECTURE, final_space(params, done), "nas_bench_201")

    def placed(name: Path | str, read: Callable[[], object]) -> Read:
        """Reads with the damaged file in its place in the project, and the whole one put back afterwards."""

        def run(path: Path) -> object:
            whole = (project / name).read_bytes()
            (project / name).write_bytes(path.read_bytes())
            try:
                return read()
            finally:
                (project / name).write_bytes(whole)

        return run

    supernet = search_space(params, done, "cpu")

    def weights(path: Path) -> None:
        files.load_state(supernet, files.read_tensors(path, "search")[0], path)

    def settings(path: Path) -> None:
        found = read_params(path)
        flatten(found.model_dump())

    def trained(path: Path) -> None:
        files.read_recipe(path, params.retrain.recipe())

    manifest = files.SPLITS / "manifest.json"
    model = project / files.MODEL
    texts: list[tuple[str, Path, Read, Any, Any]] = [
        ("params.yaml", done / "params.yaml", settings, yaml_of, as_yaml),
        ("dvc.lock", project / "dvc.lock", lambda p: read_lock(p.read_text(errors="replace")), yaml_of, as_yaml),
        ("dvc.lock in why", project / "dvc.lock", placed("dvc.lock", lambda: why(model)), yaml_of, as_yaml),
        ("architecture.json", done / files.ARCHITECTURE, _architecture(params, done), json_of, as_json),
        ("architecture in why", done / files.ARCHITECTURE, read_origin, json_of, as_json),
        ("recipe.json", done / files.RECIPE, trained, json_of, as_json),
        ("manifest.json", done / manifest, placed(manifest, lambda: _opened(project)), json_of, as_json),
        (
            "manifest, provenance",
            done / manifest,
            placed(manifest, lambda: _provenance(params, project)),
            json_of,
            as_json,
        ),
        ("evaluate.json in gate", done / "reports/evaluate.json", _gated(done), json_of, as_json),
        ("evaluate.json in verify", done / "reports/evaluate.json", _verified(done), json_of, as_json),
        ("selections.json", done / files.SELECTIONS, placed(files.SELECTIONS, lambda: why(model)), json_of, as_json),
        (
            "run record",
            done / files.RUNS / "select.json",
            placed(files.RUNS / "select.json", lambda: why(model)),
            json_of,
            as_json,
        ),
    ]
    vectors = done / files.LOGITS
    texts.append(("logits.json", vectors, _logits(supernet), json_of, as_json))
    cells = folder / "cells.parquet"
    pq.write_table(pa.table({"arch_str": [_string(arch)], "cifar10": [91.0]}), cells)
    plain: list[tuple[str, Path, Read]] = [
        (
            "split",
            done / files.SPLITS / "test.parquet",
            placed(files.SPLITS / "test.parquet", lambda: _opened(project)),
        ),
        ("evidence", done / files.EVIDENCE, placed(files.EVIDENCE, lambda: why(model))),
        ("trials table", done / files.TUNE_TRIALS, lambda p: as_rows(read_table(p))),
        ("trials as benchmark", done / files.TUNE_TRIALS, Table.read),
        ("benchmark table", cells, lambda p: true_accuracy(p, arch)),
        ("source: parquet", _images(folder / "images.parquet"), lambda p: parquet(Options(p))),
        ("source: cifar10", _archive(folder / "cifar-10-binary.tar.gz"), lambda p: cifar10(Options(p))),
        *(
            (f"source: {e}", _picture(folder / f"a.{e}"), _in_folder(folder))
            for e in ("png", "jpg", "gif", "tif", "webp")
        ),
    ]
    made = [Target(*each) for each in texts] + [Target(*each) for each in plain]
    made += [
        Target("model.safetensors", model, load_model, _about, _with_about(model)),
        Target("model in why", model, read_origin, _about, _with_about(model)),
        Target("supernet.safetensors", done / files.SUPERNET, weights, _about, _with_about(done / files.SUPERNET)),
    ]
    return made


def _string(arch: Any) -> str:
    from winnow.spaces.nas_bench_201 import to_string

    return to_string(arch)


def _architecture(params: Any, done: Path) -> Read:
    space = final_space(params, done)
    return lambda path: files.read_architecture(path, space, "nas_bench_201")


def _logits(space: Any) -> Read:
    def read(path: Path) -> None:
        try:
            read_logits(space, files.read_json(path, "search")["logits"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:  # as stage select has it
            raise Refused("does not fit") from error

    return read


def _opened(project: Path) -> None:
    read_manifest(project / files.SPLITS)
    open_split(project / files.SPLITS, "test", IMAGES, stage="evaluate")


def _provenance(params: Any, project: Path) -> None:
    import torch

    provenance(params, project, params.retrain.recipe(), torch.device("cpu"), {})


def _gated(done: Path) -> Read:
    before = json.loads((done / "reports/evaluate.json").read_text())

    def read(path: Path) -> None:
        after = gate._here(path)
        gate._rows("evaluate", before, after, {}, 0.1)
        gate._rows("evaluate", after, before, {}, 0.1)

    return read


def _verified(done: Path) -> Read:
    reference = done / "reports/evaluate.json"
    return lambda path: same("reports/evaluate.json", path, "0" * 32, reference)


def _about(path: Path) -> Any:
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["winnow"])


def _with_about(original: Path) -> Callable[[Any, Path], None]:
    with safe_open(original, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return lambda about, path: save_file(tensors, path, {"winnow": json.dumps(about)})


def _pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 12, 3), np.uint8)


def _picture(path: Path) -> Path:
    Image.fromarray(_pixels()).save(path)
    return path


def _in_folder(folder: Path) -> Read:
    """Two classes of one whole and one damaged image."""
    root = folder / "classes"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(_pixels()).save(root / name / "whole.png")

    def read(path: Path) -> None:
        target = root / "a" / path.name
        shutil.copy(path, target)
        try:
            image_folder(Options(root, image_size=12))
        finally:
            target.unlink()

    return read


def _images(path: Path) -> Path:
    encoded = io.BytesIO()
    Image.fromarray(_pixels()).save(encoded, "png")
    row = {"bytes": encoded.getvalue(), "path": "a.png"}
    info = {"info": {"features": {"label": {"names": ["a", "b"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": [row] * 6, "label": [0, 1, 0, 1, 0, 1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), path)
    return path


def _archive(path: Path) -> Path:
    with gzip.open(path, "wb") as stream, tarfile.open(fileobj=stream, mode="w:") as tar:
        for i, name in enumerate(TRAIN + TEST):
            data = bytes([i % 2]) + bytes(RECORD - 1) + bytes([1]) + bytes(RECORD - 1)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
