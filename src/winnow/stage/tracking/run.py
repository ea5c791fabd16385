"""The stage's side of tracking: `track` opens a run, `Run` takes what the stage has to say. Standard library only."""

import contextlib
import getpass
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from winnow.core.errors import Refused
from winnow.stage.tracking import facts, store
from winnow.stage.tracking.spool import Spool, write_json

QUIET = 2.0  # seconds of waiting for the shipper before a line says so
CTRL_C_PATIENCE = 3.0  # seconds Ctrl-C waits for the shipper, which finishes on its own anyway
SHIPPER = "winnow.stage.tracking.shipper"


class Tracking(Protocol):
    """The `tracking` section of params.yaml."""

    enabled: bool
    uri: str | None
    experiment: str
    required: bool
    wandb: bool
    system_metrics: bool
    registered_model: str


class Dataset(NamedTuple):
    name: str
    digest: str  # MLflow shows its first 36 characters
    path: Path | str
    context: str = "training"


class Run:
    """What a stage can say. Every call appends a line to a file and returns; without a spool it does nothing.

    After the `with` block, `record` holds `run_id`, `parent_run_id`, `experiment`, `experiment_id`, `tracking_uri`,
    `stage`, `pipeline_id` and `models`; the ids are None where tracking is off or the store was lost.
    """

    def __init__(self, stage: str, spool: Spool | None, registered_model: str = ""):
        self.stage, self.record = stage, {"stage": stage, "run_id": None, "parent_run_id": None}
        self._spool, self._registered_model = spool, registered_model

    def metric(self, name: str, value: float, step: int = 0) -> None:
        self.metrics({name: value}, step)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers of one step. NaN is kept; infinity becomes a tag, since MLflow would store 1.8e308."""
        self._write("metrics", values={name: float(value) for name, value in values.items()}, step=int(step))

    def summary(self, values: Mapping[str, float], note: str = "") -> None:
        """Numbers (and a sentence in Markdown) that stand for the pipeline: also shown on its parent run."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        self._write("summary", values=finite, note=note)

    def tag(self, name: str, value: object) -> None:
        self._write("tags", values={name: facts.redact(str(value))})

    def note(self, markdown: str) -> None:
        """The description on the run's page."""
        self.tag("mlflow.note.content", markdown)

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """A file as it is now; it may change or go away afterwards."""
        if self._spool:
            self._write("artifact", file=self._keep(Path(path)), folder=folder)

    def dataset(self, name: str, digest: str, path: Path | str, context: str = "training") -> None:
        self._write("dataset", name=name, digest=digest, path=str(path), context=context)

    def model(
        self,
        build: str,
        files: Sequence[Path | str],
        input_shape: Sequence[int],
        *,
        arguments: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
        register: bool = True,
        alias: str = "candidate",
        name: str = "model",
    ) -> None:
        """A trained model, logged without pickle and registered as `tracking.registered_model`.

        The shipper calls `build`, "package.module:function", as `function(folder, **arguments)` with a folder that
        holds copies of `files` by their names; it returns an `nn.Module`. `input_shape` is one input's, without batch.
        `details` (size, architecture) are shown on the model's page.
        """
        if self._spool:
            kept = [self._keep(Path(path)) for path in files]
            registered = self._registered_model if register else ""
            what = {"build": build, "arguments": dict(arguments or {}), "files": kept, "search_path": sys.path}
            shown = {"name": name, "input_shape": list(input_shape), "details": dict(details or {})}
            self._write("model", **what, **shown, register=registered, alias=alias)

    def _keep(self, path: Path) -> str:
        if not path.is_file():
            raise FileNotFoundError(f"no file to track at {path}")
        with _spool_errors():
            return self._spool.keep(path)

    def _write(self, kind: str, **content: Any) -> None:
        if self._spool:
            with _spool_errors():
                self._spool.write(kind, **content)


@contextlib.contextmanager
def track(
    stage: str,
    *,
    params: Mapping[str, Any],
    root: Path,
    tracking: Tracking,
    inputs: Sequence[Dataset] = (),
    upstream: Sequence[Path] = (),
) -> Iterator[Run]:
    """A run of `stage` for as long as the block lasts.

    `params` is the whole of params.yaml as plain data; `root` the folder that holds it. `upstream` are the records
    of earlier stages, `artifacts/runs/<stage>.json`; the record of this one is written there when the block ends well,
    so that a stage DVC takes from its cache still points at the run that made it.
    Refused where the tracking server does not answer and `tracking.required` says it must.
    """
    record_path = root / "artifacts" / "runs" / f"{stage}.json"
    if not tracking.enabled:
        run = Run(stage, None)
        yield run
        write_json(record_path, run.record)
        return
    state = store.state_folder(root)
    start, uri = _start(stage, params, root, state, tracking, inputs, upstream)
    with _spool_errors():
        spool = Spool(state, stage)
        spool.write("start", **start)
    shipper = _launch(spool.folder, uri, root)
    run = Run(stage, spool, tracking.registered_model)
    try:
        yield run
    except BaseException as error:
        status = _status(error)
        with contextlib.suppress(Refused):  # the first error is the one to show
            run._write("end", status=status, error=facts.redact(_one_line(error)))
        _finish(run, spool, shipper, start, CTRL_C_PATIENCE if status == "KILLED" else None)
        raise
    run._write("end", status="FINISHED", error=None)
    _finish(run, spool, shipper, start, None)
    write_json(record_path, run.record)


def _start(stage, params, root, state, tracking, inputs, upstream) -> tuple[dict[str, Any], str]:
    """The first event, and the address of the store with its password (which stays out of the event)."""
    with _spool_errors():
        state.mkdir(parents=True, exist_ok=True)
    uri, fallback = _usable_uri(tracking, state)
    git, environment = facts.git(root), facts.environment()
    digest = facts.pipeline_id(params, git.get("commit"), Path(os.environ.get("DVC_ROOT") or root))
    records = {path.stem: _read_record(path) for path in upstream if path.is_file()}
    models = [model for record in records.values() for model in record.get("models") or []]
    tags = {
        "winnow.stage": stage,
        "winnow.pipeline_id": digest,
        "winnow.pid": str(os.getpid()),
        **facts.environment_tags(environment),
        **{f"winnow.upstream.{name}": record["run_id"] for name, record in records.items() if record.get("run_id")},
    }
    if lock := facts.file_digest(root / "dvc.lock"):
        tags["winnow.dvc_lock"] = lock
    if name := os.environ.get("DVC_EXP_NAME"):
        tags["winnow.dvc_experiment"] = name
    if fallback:
        tags["winnow.tracking_fallback"] = fallback
    start = {
        "stage": stage,
        "title": facts.title(params, digest),
        "pipeline_id": digest,
        "uri": store.portable_uri(uri, state),
        "state": str(state),
        "experiment": tracking.experiment,
        "wandb": tracking.wandb,
        "system_metrics": tracking.system_metrics,
        "user": _user(),
        "command": facts.redact(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        "params": facts.flatten(params),
        "model_id": next((model["model_id"] for model in models if model.get("registered")), None),
        "git": git,
        "environment": environment,
        "tags": tags,
        "inputs": [{**each._asdict(), "path": str(each.path)} for each in inputs],
    }
    return start, uri


def _usable_uri(tracking: Tracking, state: Path) -> tuple[str, str]:
    """The address to use, and why it is the local store although another was asked for (empty if it was not)."""
    uri = store.choose_uri(tracking.uri, state)
    trouble = store.trouble(uri)
    if trouble is None:
        return uri, ""
    told = f"the tracking server {facts.redact(uri)} cannot be used: {trouble}"
    if tracking.required:
        raise Refused(
            f"{told}; start it, correct MLFLOW_TRACKING_URI or tracking.uri, or set tracking.required: false to go on "
            "with a local store"
        )
    _say(f"warning: {told}; this run goes to the local store {store.portable_uri(store.local_uri(state), state)}")
    return store.local_uri(state), told


def _launch(folder: Path, uri: str, root: Path) -> subprocess.Popen:
    """The shipper, out of reach of the terminal's Ctrl-C. The address goes by environment: it may hold a password."""
    uri, credentials = store.split_credentials(uri)
    drop = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment |= {"MLFLOW_TRACKING_URI": uri, **credentials}
    with open(folder / "shipper.log", "ab") as log:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", SHIPPER, "ship", str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment, cwd=root,
        )  # fmt: skip


def _finish(run: Run, spool: Spool, shipper: subprocess.Popen, start: dict[str, Any], patience: float | None) -> None:
    """Wait for the shipper, take over the ids, say what went wrong."""
    if not _wait(shipper, patience):
        spool.close()
        return
    shipped = spool.shipped()
    keys = ("run_id", "parent_run_id", "experiment_id", "models")
    run.record = {
        "stage": run.stage,
        "pipeline_id": start["pipeline_id"],
        "experiment": start["experiment"],
        "tracking_uri": start["uri"],
        **{key: shipped.get(key) for key in keys},
    }
    for problem in shipped["problems"]:
        _say(f"warning: tracking: {problem}")
    if shipped.get("done"):
        spool.remove()
        return
    spool.close()
    _say(
        f"warning: not everything of this run reached {start['uri']}; nothing is lost: the next stage sends the rest, "
        f"or do it now with `{_near(sys.executable)} -m {SHIPPER} replay {_near(spool.folder)}`"
    )


def _near(path: Path | str) -> str:
    """As one would type it from here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)


def _wait(shipper: subprocess.Popen, patience: float | None) -> bool:
    began, told = time.monotonic(), False
    while shipper.poll() is None:
        waited = time.monotonic() - began
        if patience is not None and waited > patience:
            return False
        if waited > QUIET and not told:
            _say("tracking: sending the last of this run to MLflow …")
            told = True
        time.sleep(0.02)
    return True


def _status(error: BaseException) -> str:
    if isinstance(error, SystemExit) and error.code in (0, None):
        return "FINISHED"
    return "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"


def _one_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0][:500]
    return text if isinstance(error, Refused) else f"{type(error).__name__}: {text}".rstrip(": ")


def _read_record(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user id has no name
        return str(os.getuid())


@contextlib.contextmanager
def _spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            f"the record of this run cannot be written to {error.filename or 'the state folder'}: "
            f"{error.strerror or error}; make room, or set tracking.enabled: false"
        ) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
