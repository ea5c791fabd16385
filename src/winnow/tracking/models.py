"""Trained models into MLflow: built from copied files, logged as exported graphs, registered."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException

from winnow.system.addresses import redact
from winnow.tracking.answers import transient


def log(into: Any, event: dict[str, Any], run: str, step: int) -> Any:
    """What MLflow says of the logged model; None, told as a problem, where it cannot be built or exported.

    `into` is the `MlflowRun`. Raises what the store refuses, and what is worth another attempt.
    """
    try:
        model = build(event, into.folder)
        mlflow.set_tracking_uri(into.uri)
        mlflow.set_experiment(experiment_id=into.experiment_id)  # a logged model goes to the active one
        return _log(model, event, run, step=step, tags=into.source())
    except Exception as error:  # whatever a user's module or the exporter raises: told, and the run goes on
        if isinstance(error, MlflowException) and error.error_code in ("ENDPOINT_NOT_FOUND", "NOT_IMPLEMENTED"):
            into.problem(f"the server is too old for models: {event['name']} was not logged (MLflow 3 takes them)")
            return None
        if isinstance(error, (MlflowException, OSError)) or transient(error):
            raise
        into.problem(redact(f"the model {event['name']} was not logged: {type(error).__name__}: {error}")[:500])
        return None


def register(into: Any, event: dict[str, Any]) -> None:
    """A version of the registered model from the logged one; what was reached is kept between attempts."""
    name, start = event["register"], into.start
    if "version" not in event:
        with contextlib.suppress(MlflowException):  # it is there already; if it is not, the next line says so
            into.client.create_registered_model(
                name, description="Networks that winnow found and trained from scratch."
            )
        mlflow.set_tracking_uri(into.uri)
        event["version"] = mlflow.register_model(event["uri"], name).version
    version = event["version"]
    for model in into.progress["models"]:
        if model["model_id"] == event["model_id"]:
            model |= {"registered": name, "version": version}
            into.client.update_model_version(name, version, f"From pipeline run {start['title']}, {start['stage']}.")
            into.client.set_registered_model_alias(name, event["alias"], version)
            model["alias"] = event["alias"]


def build(event: dict[str, Any], folder: Path) -> Any:
    """The module that `event["build"]` makes from the copied files, in evaluation mode."""
    sys.path.extend(entry for entry in event["search_path"] if entry not in sys.path)
    module, _, function = event["build"].partition(":")
    with tempfile.TemporaryDirectory() as together:
        for file in event["files"]:
            (Path(together) / Path(file).name).symlink_to((folder / file).resolve())
        return getattr(importlib.import_module(module), function)(Path(together), **event["arguments"]).eval()


def _log(model: Any, event: dict[str, Any], run_id: str, step: int, tags: dict[str, str]) -> Any:
    """As an exported graph with signature: no pickle, and loadable without winnow. It shows the metrics of `step`."""
    import mlflow.pytorch
    from mlflow.models import Model

    shape = (2, *event["input_shape"])  # a batch of one would be exported as always one
    seed = int.from_bytes(hashlib.sha256(repr(shape).encode()).digest()[:4])
    if "example" in event:
        example = np.array([event["example"]] * 2, np.float32)
    else:
        example = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    needed = [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in ("torch", "numpy", "mlflow")]
    return Model.log(
        artifact_path=None, name=event["name"], flavor=mlflow.pytorch, run_id=run_id, pytorch_model=model,
        input_example=example, serialization_format="pt2", pip_requirements=needed, params=event["details"],
        step=step, tags=tags,
    )  # fmt: skip
