"""Events into MLflow: one parent run a pipeline run, one child a stage, every call by explicit id."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from winnow.stage.tracking.facts import plain_name
from winnow.stage.tracking.local import create_local_store
from winnow.stage.tracking.spool import state_of, write_json
from winnow.stage.tracking.store import local_uri, locked
from winnow.stage.tracking.ui import VIEW

PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # MLflow's limits for one batch
LONGEST_DIGEST, LONGEST_TAG, LONGEST_PARAM = 36, 8000, 6000  # characters that MLflow takes
# What will be refused again however often it is sent; anything else may be the server's bad moment.
PERMANENT = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST")
# The run table as `ui_url` opens it: without this, MLflow shows no metric in it.
COLUMNS = ("accuracy_mean", "accuracy_sd", "control_accuracy_mean", "params", "macs", "latency_ms")
TABLE = {
    "searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL",
    "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "datasetsFilter": [],
    "selectedColumns": [f"metrics.`{name}`" for name in COLUMNS],
}  # fmt: skip


class MlflowRun:
    """A stage's run and its parent. Methods raise MlflowException or OSError where the store does not take it."""

    def __init__(self, uri: str, folder: Path, start: dict[str, Any], progress: dict[str, Any]):
        self.uri, self.folder, self.start, self.progress = uri, folder, start, progress
        self.state = state_of(folder)
        with locked(self.state / "tracking.lock"):  # MLflow's own set-up fails when three processes come at once
            if uri == local_uri(self.state):
                create_local_store(self.state)
            self.client = MlflowClient(uri)
            self.experiment_id = self._experiment(uri)
            if "run_id" not in progress:
                self._create()
        self.run_id, self.parent_id = progress["run_id"], progress["parent_run_id"]
        if "described" not in progress:
            self._describe()

    def _experiment(self, uri: str) -> str:
        name = self.start["experiment"]
        if found := self.client.get_experiment_by_name(name):
            if found.lifecycle_stage == "deleted":
                self.client.restore_experiment(found.experiment_id)
            return found.experiment_id
        place = (self.state / "mlartifacts").as_uri() if uri.startswith("sqlite") else None  # else the server decides
        tags = {"mlflow.note.content": "Pipeline runs of winnow: one parent run each, its stages nested below."}
        tags |= {"mlflow.experimentKind": "custom_model_development", VIEW: json.dumps(TABLE)}
        return self.client.create_experiment(name, artifact_location=place, tags=tags)

    def _create(self) -> None:
        source = self._source()
        parent = self._parent(source)
        tags = {**source, **self.start["tags"], "mlflow.parentRunId": parent}
        run = self.client.create_run(self.experiment_id, self.start["time"], tags, self.start["stage"]).info.run_id
        self.progress |= {"run_id": run, "parent_run_id": parent, "experiment_id": self.experiment_id}
        self.save()

    def _describe(self) -> None:
        """What a run has from its beginning; said again from the start if the store went away half-way."""
        start = self.start
        self._supersede(self.parent_id, self.run_id)
        self._accept(self._log_params, self.run_id, start["params"])
        shared = {key: value for key, value in start["params"].items() if not key.startswith("tracking.")}
        self._accept(self._log_params, self.parent_id, shared)
        for each in start["inputs"]:
            self.dataset(each)
        self._attach("environment.json", json.dumps(start["environment"], indent=2))
        self._attach("params.json", json.dumps(start["params"], indent=2))
        if start["git"].get("diff"):
            self._attach("git.diff", start["git"]["diff"])
        self.progress["described"] = True
        self.save()

    def _source(self) -> dict[str, str]:
        start, git = self.start, self.start["git"]
        source = {"mlflow.user": start["user"], "mlflow.source.type": "LOCAL", "mlflow.source.name": start["command"]}
        if git:
            source |= {"mlflow.source.git.commit": git["commit"], "mlflow.source.git.branch": git["branch"]}
            source["winnow.git.dirty"] = str(git["dirty"]).lower()
        return source

    def _parent(self, source: dict[str, str]) -> str:
        start = self.start
        mine = f"tags.`winnow.pipeline_id` = '{start['pipeline_id']}' and tags.`winnow.stage` = 'pipeline'"
        found = self.client.search_runs([self.experiment_id], mine, max_results=1, order_by=["start_time ASC"])
        if found:
            self.client.update_run(found[0].info.run_id, status="RUNNING")
            return found[0].info.run_id
        commit = source.get("mlflow.source.git.commit", "no commit")[:10]
        dirty = " with uncommitted changes" if source.get("winnow.git.dirty") == "true" else ""
        tags = {
            **source,
            "winnow.pipeline_id": start["pipeline_id"],
            "winnow.stage": "pipeline",
            "mlflow.note.content": f"One pipeline run at {commit}{dirty}; its stages are nested below.",
        }
        return self.client.create_run(self.experiment_id, start["time"], tags, start["title"]).info.run_id

    def _supersede(self, parent: str, run: str) -> None:
        """An earlier run of the same stage in the same pipeline run stays, marked as what no longer counts."""
        stage = self.start["stage"]
        same = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`winnow.stage` = '{stage}'"
        for old in self.client.search_runs([self.experiment_id], same):
            if old.info.run_id != run and "winnow.superseded" not in old.data.tags:
                self.client.set_tag(old.info.run_id, "winnow.superseded", run)
                self.client.update_run(old.info.run_id, name=f"{stage} (superseded)")

    def _log_params(self, run: str, values: dict[str, str]) -> None:
        params = [Param(key, value) for key, value in values.items()]
        for i in range(0, len(params), PARAMS_AT_ONCE):
            self.client.log_batch(run, params=params[i : i + PARAMS_AT_ONCE])

    def _attach(self, name: str, text: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / name).write_text(text, encoding="utf-8")
            self.client.log_artifact(self.run_id, str(Path(folder) / name))

    def save(self) -> None:
        write_json(self.folder / "shipped.json", self.progress)

    def problem(self, text: str) -> None:
        if text not in self.progress["problems"]:
            self.progress["problems"].append(text)

    # ---- events -----------------------------------------------------------------------------------------------------

    def ship(self, events: list[tuple[int, dict[str, Any]]]) -> bool:
        """Send events in order and remember how far; True when the last of them ends the run."""
        waiting: list[dict[str, Any]] = []
        try:
            for offset, event in events:
                if event["kind"] == "metrics":
                    waiting.append(event)
                    continue
                self._metrics(waiting)
                waiting = []
                if event["kind"] != "start":
                    self._accept(getattr(self, event["kind"]), event)
                self.progress["offset"] = offset
            self._metrics(waiting)
            if events:
                self.progress["offset"] = events[-1][0]
        finally:
            if events:
                self.save()
        return bool(events) and events[-1][1]["kind"] == "end"

    def _accept(self, send: Callable[..., None], *what: Any) -> None:
        """Send; what the store will never take is told as a problem of the run and not sent again."""
        try:
            send(*what)
        except MlflowException as error:
            if error.error_code not in PERMANENT:
                raise
            self.problem(f"MLflow refused a {send.__name__.strip('_')} event: {str(error).splitlines()[0][:300]}")

    def _metrics(self, events: list[dict[str, Any]]) -> None:
        metrics, infinite = [], {}
        for event in events:
            self.progress["step"] = max(event["step"], self.progress.get("step", 0))
            for name, value in event["values"].items():
                name = plain_name(name)
                if math.isinf(value):
                    infinite[f"winnow.infinite.{name}"] = f"{value} at step {event['step']}"
                else:
                    metrics.append(Metric(name, value, event["time"], event["step"]))
        tags = [RunTag(name, text) for name, text in infinite.items()]
        for i in range(0, len(metrics), METRICS_AT_ONCE):
            self._accept(self._batch, metrics[i : i + METRICS_AT_ONCE])
        if tags:
            self.client.log_batch(self.run_id, tags=tags)

    def _batch(self, metrics: list[Metric]) -> None:
        self.client.log_batch(self.run_id, metrics=metrics)

    def system_metrics(self, values: dict[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self._batch([Metric(f"system/{name}", value, now, step) for name, value in values.items()])

    def tags(self, event: dict[str, Any]) -> None:
        for name, value in event["values"].items():
            self.client.set_tag(self.run_id, name, value[:LONGEST_TAG])

    def summary(self, event: dict[str, Any]) -> None:
        for run in (self.run_id, self.parent_id):
            model = self.start["model_id"] if run == self.run_id else None  # so the model's page shows them as well
            metrics = [Metric(k, v, event["time"], 0, model_id=model, run_id=run) for k, v in event["values"].items()]
            self.client.log_batch(run, metrics=metrics)
            if event["note"]:
                self.client.set_tag(run, "mlflow.note.content", event["note"][:LONGEST_TAG])

    def artifact(self, event: dict[str, Any]) -> None:
        self.client.log_artifact(self.run_id, str(self.folder / event["file"]), event["folder"] or None)

    def dataset(self, event: dict[str, Any]) -> None:
        source = json.dumps({"uri": event["path"]})
        dataset = Dataset(event["name"], event["digest"][:LONGEST_DIGEST], "local", source)
        tags = [InputTag("mlflow.data.context", event["context"]), InputTag("winnow.digest", event["digest"])]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def model(self, event: dict[str, Any]) -> None:
        info = self._log_model(event, self.run_id, step=self.progress.get("step", 0))
        if info is None:
            return
        logged = {"name": event["name"], "model_id": info.model_id, "uri": info.model_uri}
        if event["register"]:
            logged |= self._register(event, info)
        self.progress["models"].append(logged)

    def _log_model(self, event: dict[str, Any], run: str, step: int) -> Any:
        """What MLflow says of the logged model; None, told as a problem, where it cannot be built or exported."""
        try:
            model = build(event, self.folder)
            mlflow.set_tracking_uri(self.uri)
            mlflow.set_experiment(experiment_id=self.experiment_id)  # a logged model goes to the active one
            return log_model(model, event, run, step=step, tags=self._source())
        except MlflowException:
            raise
        except Exception as error:  # whatever a user's module or the exporter raises: told, and the run goes on
            self.problem(f"the model {event['name']} was not logged: {type(error).__name__}: {error}"[:500])
            return None

    def child(self, event: dict[str, Any]) -> None:
        tags = {**self._source(), **event["tags"], "mlflow.parentRunId": self.run_id, "winnow.stage": "trial"}
        run = self.client.create_run(self.experiment_id, event["time"], tags, event["name"]).info.run_id
        params = [Param(plain_name(key), value[:LONGEST_PARAM]) for key, value in event["params"].items()]
        metrics = [Metric(plain_name(key), value, event["time"], 0) for key, value in event["metrics"].items()]
        for i in range(0, max(len(params), len(metrics)), PARAMS_AT_ONCE):
            here = slice(i, i + PARAMS_AT_ONCE)
            self.client.log_batch(run, metrics=metrics[here], params=params[here])
        if event["model"]:
            self._log_model(event["model"], run, step=0)
        self.client.set_terminated(run, "FINISHED", event["time"])

    def _register(self, event: dict[str, Any], info: Any) -> dict[str, Any]:
        name, start = event["register"], self.start
        with contextlib.suppress(MlflowException):  # it is there already; if it is not, the next line says so
            self.client.create_registered_model(
                name, description="Networks that winnow found and trained from scratch."
            )
        note = f"From pipeline run {start['title']}, stage {start['stage']}."
        version = mlflow.register_model(info.model_uri, name).version
        self.client.update_model_version(name, version, note)
        self.client.set_registered_model_alias(name, event["alias"], version)
        return {"registered": name, "version": version, "alias": event["alias"]}

    def end(self, event: dict[str, Any]) -> None:
        if event["error"]:
            self.client.set_tag(self.run_id, "winnow.error", event["error"])
        for run in (self.run_id, self.parent_id):
            self.client.set_terminated(run, event["status"], event["time"])


def build(event: dict[str, Any], folder: Path) -> Any:
    """The module that `event["build"]` makes from the copied files, in evaluation mode."""
    sys.path.extend(entry for entry in event["search_path"] if entry not in sys.path)
    module, _, function = event["build"].partition(":")
    with tempfile.TemporaryDirectory() as together:
        for file in event["files"]:
            (Path(together) / Path(file).name).symlink_to((folder / file).resolve())
        return getattr(importlib.import_module(module), function)(Path(together), **event["arguments"]).eval()


def log_model(model: Any, event: dict[str, Any], run_id: str, step: int, tags: dict[str, str]) -> Any:
    """As an exported graph with signature: no pickle, and loadable without winnow. It shows the metrics of `step`."""
    import mlflow.pytorch
    from mlflow.models import Model

    shape = (2, *event["input_shape"])  # a batch of one would be exported as always one
    seed = int.from_bytes(hashlib.sha256(repr(shape).encode()).digest()[:4])
    example = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    needed = [f"{name}=={importlib.metadata.version(name).split('+')[0]}" for name in ("torch", "numpy", "mlflow")]
    return Model.log(
        artifact_path=None, name=event["name"], flavor=mlflow.pytorch, run_id=run_id, pytorch_model=model,
        input_example=example, serialization_format="pt2", pip_requirements=needed, params=event["details"],
        step=step, tags=tags,
    )  # fmt: skip
