"""The stage's side of tracking: `track` opens a run, `Run` takes what the stage has to say. Standard library only."""

import contextlib
import math
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from winnow.core.errors import Refused
from winnow.system.addresses import public, redact
from winnow.tracking import store
from winnow.tracking.begin import Tracking, first_event, say
from winnow.tracking.launch import SHIPPER, ensure_shipper, lock_path
from winnow.tracking.spool import Spool, state_of, write_json

QUIET = 2.0  # seconds of waiting for the shipper before a line says so
RESTARTS = 3  # of a shipper that does not stay
ANSWER_PATIENCE = 60.0  # seconds a required server has, the shipper's start included
PATIENCE = 15.0  # seconds a stage waits at its end once the record is complete; the shipper goes on beside the next
RECORD_PATIENCE = 75.0  # seconds it waits for what its record holds: the run's ids and models
CTRL_C_PATIENCE = 3.0  # seconds Ctrl-C waits for the shipper, which finishes on its own anyway
SIGNALLED = (130, 143)  # exit statuses of Ctrl-C and of SIGTERM


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
        self._spool, self._registered_model, self.models = spool, registered_model, 0

    def metric(self, name: str, value: float, step: int = 0) -> None:
        self.metrics({name: value}, step)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers of one step. NaN is kept; infinity becomes a tag, since MLflow would store 1.8e308."""
        self._write("metrics", values={name: float(value) for name, value in values.items()}, step=int(step))

    def summary(self, values: Mapping[str, float], note: str = "", tags: Mapping[str, str] | None = None) -> None:
        """Numbers (a sentence in Markdown, tags) that stand for the pipeline: also shown on its parent run."""
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        shown = {name: redact(value) for name, value in (tags or {}).items()}
        self._write("summary", values=finite, note=redact(note), tags=shown)

    def tag(self, name: str, value: object) -> None:
        self._write("tags", values={name: redact(str(value))})

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
        example: Sequence[Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
        register: bool = True,
        alias: str = "candidate",
        name: str = "model",
    ) -> None:
        """A trained model, logged without pickle and registered as `tracking.registered_model`.

        The shipper calls `build`, "package.module:function", as `function(folder, **arguments)` with a folder that
        holds copies of `files` by their names; it returns an `nn.Module`. `input_shape` is one input's, without batch;
        `example` such an input as nested lists, where noise is none.
        `details` (size, architecture) are shown on the model's page.
        """
        if self._spool:
            kept = [self._keep(Path(path)) for path in files]
            registered = self._registered_model if register else ""
            what = {"build": build, "arguments": dict(arguments or {}), "files": kept, "search_path": sys.path}
            shown = {"name": name, "input_shape": list(input_shape), "details": dict(details or {})}
            shown |= {} if example is None else {"example": list(example)}
            self.models += 1
            self._write("model", **what, **shown, register=registered, alias=alias)

    def child(
        self,
        name: str,
        *,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        model: Mapping[str, Any] | None = None,
    ) -> None:
        """A finished run nested below this one; `model` has `build`, `files`, `input_shape`, `arguments`, `details`."""
        if self._spool:
            shown = {key: redact(str(value)) for key, value in params.items()}
            finite = {key: float(value) for key, value in metrics.items() if math.isfinite(value)}
            if model is not None:
                kept = [self._keep(Path(path)) for path in model["files"]]
                named = {"name": "model", "arguments": {}, "details": {}}
                model = {**named, **model, "files": kept, "search_path": sys.path}
            self._write("child", name=name, params=shown, metrics=finite, tags=dict(tags), model=model)

    def _keep(self, path: Path) -> str:
        if not path.is_file():
            raise FileNotFoundError(f"no file to track at {path}")
        assert self._spool is not None
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
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Run]:
    """A run of `stage` for as long as the block lasts.

    `params` is the whole of params.yaml as plain data; `root` the folder that holds it. `upstream` are the records
    of earlier stages, `artifacts/runs/<stage>.json`; the record of this one is written there when the block ends well,
    so that a stage DVC takes from its cache still points at the run that made it; `more` is put into it then.
    Refused where the tracking server does not answer and `tracking.required` says it must.
    """
    record_path = root / "artifacts" / "runs" / f"{stage}.json"
    if not tracking.enabled:
        run = Run(stage, None)
        yield run
        write_json(record_path, {**run.record, **more})
        return
    state = store.state_folder(root)
    with _spool_errors():
        state.mkdir(parents=True, exist_ok=True)
    uri = store.choose_uri(tracking.uri, state)
    start = first_event(stage, params, root, tracking, upstream)
    start |= {"uri": store.portable_uri(uri, state), "shipper": lock_path(state, uri).name}
    start["inputs"] = [{**each._asdict(), "path": str(each.path)} for each in inputs]
    with _spool_errors():
        spool = Spool(state, stage)
        spool.write("start", **start)
        ensure_shipper(state, uri)
    if tracking.required and uri != store.local_uri(state):
        _insist(spool, state, uri)
    run = Run(stage, spool, tracking.registered_model)
    try:
        yield run
    except BaseException as error:
        status = _status(error)
        with contextlib.suppress(Refused):  # the first error is the one to show
            run._write("end", status=status, error=redact(_one_line(error)))
        _finish(run, spool, start, uri, hurry=status == "KILLED")
        raise
    run._write("end", status="FINISHED", error=None)
    _finish(run, spool, start, uri, hurry=False)
    write_json(record_path, {**run.record, **more})


def _insist(spool: Spool, state: Path, uri: str) -> None:
    """Wait until the run is there, so that nothing is computed that a required server would not record."""
    with _spool_errors():
        shipped = _wait(spool, state, uri, lambda now, s: "run_id" in now or "refused" in now or s > ANSWER_PATIENCE)
    if "run_id" in shipped:
        return
    spool.remove()
    told = shipped.get("refused") or shipped.get("gave_up") or f"no answer within {ANSWER_PATIENCE:g} seconds"
    raise Refused(
        f"the tracking server {public(uri)} cannot be used: {told}; start it, correct MLFLOW_TRACKING_URI or "
        "tracking.uri, or set tracking.required: false to go on with a local store"
    )


def _finish(run: Run, spool: Spool, start: dict[str, Any], uri: str, hurry: bool) -> None:
    """Wait for the shipper, take over the ids, say what went wrong."""

    recorded: list[float] = []  # when the record was complete

    def enough(shipped: dict[str, Any], waited: float) -> bool:
        if hurry:
            return waited > CTRL_C_PATIENCE
        if not recorded and shipped.get("settled", -1) >= run.models:
            recorded.append(waited)
        return waited > (recorded[0] + PATIENCE if recorded else RECORD_PATIENCE)

    with _spool_errors():
        shipped = _wait(spool, state_of(spool.folder), uri, enough)
    keys = ("run_id", "parent_run_id", "experiment_id", "models")
    run.record = {
        "stage": run.stage,
        "pipeline_id": start["pipeline_id"],
        "experiment": start["experiment"],
        "tracking_uri": shipped.get("uri", start["uri"]),
        **{key: shipped.get(key) for key in keys},
    }
    for problem in shipped["problems"]:
        say(f"warning: tracking: {problem}")
    if shipped.get("done"):
        spool.remove()
        return
    spool.close()
    later = f"`{shlex.join([_near(sys.executable), '-m', SHIPPER, 'replay', _near(spool.folder)])}`"
    if "gave_up" in shipped:
        say(
            f"warning: not everything of this run got through ({shipped['gave_up']}); nothing is lost: the next stage "
            f"sends the rest, or do it now with {later}"
        )
    elif not hurry:
        say(
            f"tracking: not all of this run is in {run.record['tracking_uri']} yet; the rest is sent while you go on "
            f"(should this machine go down meanwhile: by the next stage, or with {later})"
        )


def _wait(
    spool: Spool,
    state: Path,
    uri: str,
    enough: Callable[[dict[str, Any], float], bool],
) -> dict[str, Any]:
    """What the shipper made of this run once it is done, has given up, or has done `enough` (of that, and seconds)."""
    began = asked = time.monotonic()
    told, started = False, 0
    while True:
        shipped, now = spool.shipped(), time.monotonic()
        if shipped.get("done") or "gave_up" in shipped or enough(shipped, now - began):
            return shipped
        if now - began > QUIET and not told:
            say("tracking: waiting for MLflow …")
            told = True
        if now - asked > 2**started:  # in case it was killed
            started, asked = started + ensure_shipper(state, uri), now
            if started > RESTARTS:
                log = lock_path(state, uri).with_suffix(".log")
                return {**shipped, "gave_up": f"its shipper does not stay, see {_near(log)}"}
        time.sleep(0.02)


def _near(path: Path | str) -> str:
    """As one would type it from here."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else str(path)


def _status(error: BaseException) -> str:
    if isinstance(error, SystemExit) and error.code in (0, None):
        return "FINISHED"
    stopped = isinstance(error, SystemExit) and error.code in SIGNALLED
    return "KILLED" if stopped or isinstance(error, KeyboardInterrupt) else "FAILED"


def _one_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0][:500]
    return text if isinstance(error, Refused) else f"{type(error).__name__}: {text}".rstrip(": ")


@contextlib.contextmanager
def _spool_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(
            f"the record of this run cannot be written to {error.filename or 'the state folder'}: "
            f"{error.strerror or error}; make room, or set tracking.enabled: false"
        ) from error
