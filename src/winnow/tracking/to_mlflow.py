"""Events into MLflow: one parent run a pipeline run, one child a stage, every call by explicit id.

What the store refuses is told as a problem of the run, once, and not sent again. What may get through later raises:
the shipper decides whether to wait for it or to set it aside.
"""

import json
import math
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from winnow.system.addresses import redact
from winnow.tracking import models
from winnow.tracking.answers import one_line, transient
from winnow.tracking.facts import LONGEST_NAME, differing, plain_name
from winnow.tracking.local import create_local_store
from winnow.tracking.spool import state_of, write_json
from winnow.tracking.store import local_uri, locked
from winnow.tracking.ui import VIEW

PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  # MLflow's limits for one batch
LONGEST_DIGEST, LONGEST_TAG, LONGEST_PARAM = 36, 8000, 6000  # characters that MLflow takes
MOST_PROBLEMS = 20  # told of one run
PLACE = {"model": 1, "register": 1, "text": 2, "artifact": 2}  # in the queue of what waits; what is no file is first
ILL_FORMED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")
# The run table as `ui_url` opens it: without this, MLflow shows no metric in it.
COLUMNS = ("accuracy_mean", "control_accuracy_mean", "latency_ms", "params")  # few: the verdict stands behind them
TABLE = {
    "searchFilter": "", "orderByKey": "attributes.start_time", "orderByAsc": False, "startTime": "ALL",
    "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "datasetsFilter": [],
    "selectedColumns": ["tags.`winnow.verdict`", *(f"metrics.`{name}`" for name in COLUMNS)],
}  # fmt: skip


class MlflowRun:
    """A stage's run and its parent.

    `progress` is what is kept between attempts: `offset` in the log, `pending` (files, and what was set aside),
    `problems`, `models`, how many models are `settled`, whether the run has `ended`.
    """

    def __init__(self, uri: str, folder: Path, start: dict[str, Any], progress: dict[str, Any]):
        self.uri, self.folder, self.start, self.progress = uri, folder, start, progress
        self.state = state_of(folder)
        self.head: tuple[int, dict[str, Any]] | None = None  # what is being sent
        self.aside = 0  # events set aside since one got through
        with locked(self.state / "tracking.lock"):  # MLflow's own set-up fails when three processes come at once
            if uri == local_uri(self.state):
                create_local_store(self.state)
            self.client = MlflowClient(uri)
            self.experiment_id = self._experiment(uri)
            if "run_id" not in progress:
                self._create()
        self.run_id, self.parent_id = progress["run_id"], progress["parent_run_id"]

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
        source = self.source()
        parent = self._parent(source)
        tags = {**source, **self.start["tags"], "mlflow.parentRunId": parent}
        run = self.client.create_run(self.experiment_id, self.start["time"], tags, self.start["stage"]).info.run_id
        self.progress |= {"run_id": run, "parent_run_id": parent, "experiment_id": self.experiment_id, "settled": 0}
        texts = ["environment.json", "params.json", *(["git.diff"] if self.start["git"].get("diff") else [])]
        self.progress["pending"] = [
            {"kind": "supersede"},
            {"kind": "parameters"},
            *({"kind": "dataset", **each} for each in self.start["inputs"]),
            *({"kind": "text", "name": name} for name in texts),
        ]
        self.save()

    def source(self) -> dict[str, str]:
        start, git = self.start, self.start["git"]
        source = {"mlflow.user": start["user"], "mlflow.source.type": "LOCAL", "mlflow.source.name": start["command"]}
        if git:
            source |= {"mlflow.source.git.commit": git["commit"], "mlflow.source.git.branch": git["branch"]}
            source["winnow.git.dirty"] = str(git["dirty"]).lower()
        source["mlflow.source.git.repoURL"] = git.get("remote", "")  # else MLflow tells it with its password
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
        title = " · ".join(filter(None, (self._differs(), start["title"])))  # the table cuts long names
        return self.client.create_run(self.experiment_id, start["time"], tags, title[:LONGEST_NAME]).info.run_id

    def _differs(self) -> str:
        """In which parameters this pipeline run is another than the one before it."""
        others = "tags.`winnow.stage` = 'pipeline'"
        found = self.client.search_runs([self.experiment_id], others, max_results=1, order_by=["start_time DESC"])
        return differing(self.start["params"], found[0].data.params) if found else ""

    def supersede(self, _: dict[str, Any]) -> None:
        """An earlier run of the same stage in the same pipeline run stays, marked as what no longer counts."""
        stage, run, parent = self.start["stage"], self.run_id, self.parent_id
        same = f"tags.`mlflow.parentRunId` = '{parent}' and tags.`winnow.stage` = '{stage}'"
        for old in self.client.search_runs([self.experiment_id], same):
            if old.info.run_id != run and "winnow.superseded" not in old.data.tags:
                self.client.set_tag(old.info.run_id, "winnow.superseded", run)
                self.client.update_run(old.info.run_id, name=f"{stage} (superseded)")

    def parameters(self, _: dict[str, Any]) -> None:
        """The stage's own, and on the parent all but how it is tracked, which may differ between stages."""
        given = self.start["params"]
        shared = {key: value for key, value in given.items() if not key.startswith("tracking.")}
        for run, values in ((self.run_id, given), (self.parent_id, shared)):
            params = [Param(key, value) for key, value in values.items()]
            for i in range(0, len(params), PARAMS_AT_ONCE):
                self.client.log_batch(run, params=params[i : i + PARAMS_AT_ONCE])

    def text(self, event: dict[str, Any]) -> None:
        """A file made of what the start says."""
        name, start = event["name"], self.start
        content = {"environment.json": start["environment"], "params.json": start["params"]}
        with tempfile.TemporaryDirectory() as folder:
            text = json.dumps(content[name], indent=2) if name in content else start["git"]["diff"]
            (Path(folder) / name).write_text(text, encoding="utf-8")
            self.client.log_artifact(self.run_id, str(Path(folder) / name))

    def save(self) -> None:
        write_json(self.folder / "shipped.json", self.progress)

    def problem(self, text: str) -> None:
        problems = self.progress["problems"]
        if text not in problems and len(problems) < MOST_PROBLEMS:
            problems.append(redact(text))

    # ---- events -----------------------------------------------------------------------------------------------------

    def ship(self, events: list[tuple[int, dict[str, Any]]]) -> None:
        """Send events in order and remember how far; files wait in `pending`, so that no number waits for them."""
        try:
            for offset, event in _joined(events, self.progress["offset"]):
                self.head = offset, event
                if event["kind"] == "artifact":
                    self._keep_newest(event)
                elif event["kind"] == "model":
                    self.progress["pending"].append(event)
                elif event["kind"] != "start":
                    self.accept(event)
                self.progress["offset"], self.aside = offset, 0
            self.head = None
        finally:
            if events:
                self.save()

    def _keep_newest(self, event: dict[str, Any]) -> None:
        """An artifact in the place of what waits to be written to the same path: it would be written over at once."""
        pending = self.progress["pending"]
        pending[:] = [each for each in pending if each["kind"] != "artifact" or _place(each) != _place(event)] + [event]

    def set_aside(self) -> None:
        """Let the rest pass what does not get through now."""
        if self.head is not None:
            self.progress["offset"], event = self.head
            self.progress["pending"].append(event)
            self.progress["ending"] = event["kind"] == "end"
            self.head, self.aside = None, self.aside + 1
            self.save()

    def next_pending(self) -> dict[str, Any] | None:
        return min(self.progress["pending"], key=lambda e: (e.get("tries", 0), PLACE.get(e["kind"], 0)), default=None)

    def accept(self, event: dict[str, Any]) -> None:
        """Send; raises what is worth another attempt, tells what is not."""
        try:
            getattr(self, event["kind"])(event)
        except Exception as error:
            if transient(error):
                raise
            print(redact(traceback.format_exc()), file=sys.stderr, flush=True)
            self.problem(f"{self._named(event)} was refused: {one_line(error)}")
            self.progress["settled"] += event["kind"] == "register" or (event["kind"] == "model" and "run" not in event)
            self.progress["ended"] = self.progress.get("ended", False) or event["kind"] == "end"

    def _named(self, event: dict[str, Any]) -> str:
        kind = event["kind"]
        if kind == "artifact":
            path = self.folder / event["file"]
            size = f"{path.stat().st_size:,} bytes" if path.is_file() else "gone"
            return f"the file {path.name} ({size})"
        if kind == "register":
            return f"the model {event['model_id']} is logged, but its registration as {event['register']}"
        names = {"metrics": "a batch of metrics", "model": f"the model {event.get('name')}", "end": "the run's end"}
        return names.get(kind, f"the file {event['name']}" if kind == "text" else kind)

    def metrics(self, event: dict[str, Any]) -> None:
        """Numbers of neighbouring steps; where some are ill-formed, the others are sent without them."""
        metrics, infinite = [], {}
        for step, at, name, value in event["numbers"]:
            self.progress["step"] = max(step, self.progress.get("step", 0))
            name = plain_name(name)
            if math.isinf(value):
                infinite[f"winnow.infinite.{name}"] = f"{value} at step {step}"
            else:
                metrics.append(Metric(name, value, at, step))
        self._batch(metrics)
        if infinite:
            self.client.log_batch(self.run_id, tags=[RunTag(name, text) for name, text in infinite.items()])

    def _batch(self, metrics: list[Metric]) -> None:
        try:
            if metrics:
                self.client.log_batch(self.run_id, metrics=metrics)
        except MlflowException as error:
            if len(metrics) == 1 or error.error_code not in ILL_FORMED:
                raise
            for half in (metrics[: len(metrics) // 2], metrics[len(metrics) // 2 :]):
                try:
                    self._batch(half)
                except MlflowException as inner:
                    if transient(inner):
                        raise
                    self.problem(f"metric {half[0].key} was refused: {one_line(inner)}")

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
            for name, value in event.get("tags", {}).items():
                self.client.set_tag(run, name, value[:LONGEST_TAG])

    def artifact(self, event: dict[str, Any]) -> None:
        self.client.log_artifact(self.run_id, str(self.folder / event["file"]), event["folder"] or None)

    def dataset(self, event: dict[str, Any]) -> None:
        source = json.dumps({"uri": event["path"]})
        dataset = Dataset(event["name"], event["digest"][:LONGEST_DIGEST], "local", source)
        tags = [InputTag("mlflow.data.context", event["context"]), InputTag("winnow.digest", event["digest"])]
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, tags)])

    def model(self, event: dict[str, Any]) -> None:
        """Log it once; registering is an event of its own, so that its failure uploads nothing again."""
        own = "run" not in event  # rather than a trial's
        step = self.progress.get("step", 0) if own else 0
        info = models.log(self, event, event.get("run", self.run_id), step=step)
        if not own:
            return
        if info is not None:
            self.progress["models"].append({"name": event["name"], "model_id": info.model_id, "uri": info.model_uri})
        if info is not None and event["register"]:
            logged = {"model_id": info.model_id, "uri": info.model_uri}
            register = {"kind": "register", "register": event["register"], "alias": event["alias"], **logged}
            self.progress["pending"].append(register)
        else:
            self.progress["settled"] += 1

    def register(self, event: dict[str, Any]) -> None:
        models.register(self, event)
        self.progress["settled"] += 1

    def child(self, event: dict[str, Any]) -> None:
        if "run" not in event:
            tags = {**self.source(), **event["tags"], "mlflow.parentRunId": self.run_id, "winnow.stage": "trial"}
            event["run"] = self.client.create_run(self.experiment_id, event["time"], tags, event["name"]).info.run_id
        run = event["run"]
        params = [Param(plain_name(key), value[:LONGEST_PARAM]) for key, value in event["params"].items()]
        metrics = [Metric(plain_name(key), value, event["time"], 0) for key, value in event["metrics"].items()]
        try:
            for i in range(0, max(len(params), len(metrics)), PARAMS_AT_ONCE):
                here = slice(i, i + PARAMS_AT_ONCE)
                self.client.log_batch(run, metrics=metrics[here], params=params[here])
        except MlflowException as error:
            if transient(error):
                raise
            self.problem(f"numbers of {event['name']} were refused: {one_line(error)}")
        self.client.set_terminated(run, "FINISHED", event["time"])
        if event["model"]:
            self.progress["pending"].append({"kind": "model", **event["model"], "run": run})

    def end(self, event: dict[str, Any]) -> None:
        """The stage's run ends; its pipeline's does with the last stage, or with one that did not end well."""
        self.client.set_terminated(self.run_id, event["status"], event["time"])
        if self.start["last"] or event["status"] != "FINISHED":
            self.client.set_terminated(self.parent_id, event["status"], event["time"])
        if event["error"]:
            self.client.set_tag(self.run_id, "winnow.error", event["error"][:LONGEST_TAG])
        self.progress["ended"] = True


def _joined(events: list[tuple[int, dict[str, Any]]], before: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Neighbouring `metrics` as one event with `numbers`, (step, time, name, value), as many as one batch may have.

    Artifacts between them come first, with the offset before these numbers (`before` is that of all events), which are
    not sent yet: whoever begins again there meets the artifact again, and writes it twice.
    """
    numbers: list[tuple[int, int, str, float]] = []
    reached = before
    for offset, event in events:
        more = []
        if event["kind"] == "metrics":
            more = [(event["step"], event["time"], name, value) for name, value in event["values"].items()]
        elif event["kind"] == "artifact" and numbers:
            yield before, event
            reached = offset
            continue
        if numbers and (not more or len(numbers) + len(more) > METRICS_AT_ONCE):
            yield reached, {"kind": "metrics", "numbers": numbers}
            numbers, before = [], reached
        if event["kind"] != "metrics":
            yield offset, event
            before = offset
        numbers, reached = numbers + more, offset
    if numbers:
        yield reached, {"kind": "metrics", "numbers": numbers}


def _place(event: dict[str, Any]) -> tuple[str, str]:
    return event["folder"], Path(event["file"]).name
