"""What MLflow holds after stages that ended well, failed, were killed, or were killed together with their shipper.

One fixture runs them all, at once and on a store that does not exist yet, since a shipper takes seconds to start.
"""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import yaml

from winnow.tracking import launch as launch_module
from winnow.tracking import ui_command, ui_environment
from winnow.tracking.spool import shipped

AWAY = "http://me:secret@127.0.0.1:1"
FAKE_STAGE = Path(__file__).parent / "fake_stage.py"
POISON = "import pathlib; pathlib.Path('wandb-was-imported').touch()\n"


def launch(root: Path, mode: str, *changes: str, **variables: str) -> subprocess.Popen:
    """A fake stage that reports to the store in `root`."""
    dropped = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "WANDB_API_KEY", "WANDB_MODE")
    environment = {key: value for key, value in os.environ.items() if key not in dropped}
    environment |= {"OMP_NUM_THREADS": "1", "HOME": str(root), "MLFLOW_RUN_ID": "must not be used"}
    environment |= {"WINNOW_SHIPPER_LINGER": "3", **variables}
    return subprocess.Popen(
        [sys.executable, str(FAKE_STAGE), str(root), mode, *changes],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=root,
    )  # fmt: skip


def finish(stage: subprocess.Popen, patience: float = 200) -> SimpleNamespace:
    out, err = stage.communicate(timeout=patience)
    told = json.loads(out.splitlines()[-1]) if stage.returncode == 0 else {}
    return SimpleNamespace(code=stage.returncode, out=out, err=err, **told)


def wait_for(what, patience: float = 120):
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.05)
    return found


def shippers(root: Path) -> list[int]:
    """The processes that ship for this project, found by their command lines."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has just ended
            words = path.read_bytes().decode().split("\0")
            if launch_module.SHIPPER in words and str(root / ".winnow") in words:
                found.append(int(path.parent.name))
    return found


def client_of(root: Path):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root}/.winnow/mlflow.db")


def pipelines(root: Path) -> list[str]:
    """The states of pipeline runs."""
    with contextlib.closing(sqlite3.connect(root / ".winnow/mlflow.db")) as database:
        query = "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'winnow.stage' AND value = 'pipeline'"
        return [row[0] for row in database.execute(query)]


@pytest.fixture(scope="session")
def scene(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    (root / "poison").mkdir()
    (root / "poison" / "wandb.py").write_text(POISON)

    orphan = launch(root, "hang")
    assert orphan.stdout.readline() == "hanging\n"
    (shipper,) = wait_for(lambda: shippers(root))
    os.kill(shipper, signal.SIGKILL)
    orphan.kill()
    orphan.communicate()
    left = [folder.name for folder in (root / ".winnow/runs").iterdir()]

    record = root / "artifacts/runs/prepare.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"run_id": "made-by-prepare"}')
    stages = {
        "hang": launch(root, "hang", PYTHONPATH=str(root / "poison")),
        "stop": launch(root, "stop", PYTHONPATH=str(root / "poison")),
        "fail": launch(root, "fail", "required=false", f"uri={json.dumps(AWAY)}", PYTHONPATH=str(root / "poison")),
        # another way to log in, another shipper: two set up the store at once
        "good": launch(root, "good", "wandb=true", "system_metrics=true", WANDB_MODE="offline"),
    }
    assert stages["hang"].stdout.readline() == "hanging\n"
    stages["hang"].kill()
    assert stages["stop"].stdout.readline() == "hanging\n"
    stages["stop"].send_signal(signal.SIGINT)
    done = {name: finish(stage) for name, stage in stages.items()}
    wait_for(lambda: not list((root / ".winnow/runs").iterdir()))
    between = []
    for name in ("select", "study"):
        done[name] = finish(launch(root, name))
        between = between or pipelines(root)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow imports what SQLAlchemy 2.1 calls deprecated
        client = client_of(root)
        (experiment,) = [e for e in client.search_experiments() if e.name == "winnow"]
        runs = client.search_runs([experiment.experiment_id])
        model = client.get_model_version_by_alias("winnow-test", "candidate")
        good_id = done["good"].record["run_id"]
        history = client.get_metric_history(good_id, "train/loss")
        files = {f.path for folder in ("", "found") for f in client.list_artifacts(good_id, folder)}
        found = Path(client.download_artifacts(good_id, "found/architecture.json", str(root))).read_text()
    told = locals()
    yield SimpleNamespace(**told, by_name={run.info.run_name: run for run in runs})
    for shipper in shippers(root):
        os.kill(shipper, signal.SIGTERM)


def test_every_stage_has_one_parent_and_none_runs_for_ever(scene):
    (parent,) = [run for run in scene.runs if run.data.tags["winnow.stage"] == "pipeline"]
    children = [run for run in scene.runs if run is not parent and run.data.tags["winnow.stage"] != "trial"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert sorted((run.info.run_name.split(" ")[0], run.info.status) for run in children) == [
        ("fail", "FAILED"), ("good", "FINISHED"), ("hang", "KILLED"), ("hang", "KILLED"),
        ("select", "FINISHED"), ("stop", "KILLED"), ("study", "FINISHED"),
    ]  # fmt: skip
    assert parent.info.status == "FINISHED", "the last stage of the pipeline ended well"
    assert scene.between == ["RUNNING"], "until then a stage that ends well leaves the pipeline's run open"
    assert parent.info.run_name.endswith(" · digits · nas_bench_201 · darts")


def test_a_stage_killed_with_its_shipper_is_finished_by_the_next(scene):
    assert len(scene.left) == 1
    hanging = [run for run in scene.runs if run.data.tags["winnow.stage"] == "hang"]
    assert [run.data.metrics for run in hanging] == [{"loss": 0.5}] * 2, "what was reported before the kill is there"
    older = [run for run in hanging if "winnow.superseded" in run.data.tags]
    assert len(older) == 1
    assert older[0].info.run_name == "hang (superseded)"


def test_the_stage_itself_imports_neither_mlflow_nor_wandb(scene):
    assert scene.done["good"].heavy == []
    assert not list(scene.root.rglob("wandb-was-imported")), "wandb was imported although tracking.wandb is false"


def test_a_failed_stage_says_why(scene):
    tags = scene.by_name["fail"].data.tags
    assert tags["winnow.error"] == "ValueError: no images in https://example.org/images"
    assert "ValueError" in scene.done["fail"].err
    assert not (scene.root / "artifacts/runs/fail.json").exists()


def test_ctrl_c_ends_the_run_as_killed(scene):
    assert scene.by_name["stop"].data.tags["winnow.error"] == "KeyboardInterrupt"
    assert scene.by_name["stop"].data.metrics == {"loss": 0.5}
    assert scene.done["stop"].code != 0


def test_metrics_arrive_with_steps_and_without_infinity(scene):
    run = scene.by_name["good"].data
    assert [(m.step, round(m.value, 4)) for m in scene.history] == [(0, 1.0), (1, 0.5), (2, 0.3333)]
    assert "diverged" not in run.metrics
    assert run.tags["winnow.infinite.diverged"] == "inf at step 2"
    assert run.metrics["unknown"] != run.metrics["unknown"], "NaN stays NaN"
    assert "system/cpu_utilization_percentage" in run.metrics


def test_parameters_inputs_and_files_arrive(scene):
    run = scene.by_name["good"]
    assert run.data.params["search.milestones"] == "[1, 2]"
    assert run.data.params["tracking.uri"] == "http://example.org"
    inputs = {d.dataset.name: (d.dataset.digest, d.tags[0].value) for d in run.inputs.dataset_inputs}
    assert inputs == {"digits/weights": ("a" * 36, "training"), "digits/arch": ("b" * 36, "validation")}
    assert {"environment.json", "params.json", "found/architecture.json"} <= scene.files
    assert scene.found == '{"op": "conv"}', "the file as it was when it was tracked"


def test_the_summary_stands_on_the_parent_too(scene):
    for run in (scene.by_name["good"], *[r for r in scene.runs if r.data.tags["winnow.stage"] == "pipeline"]):
        assert run.data.metrics["accuracy_mean"] == 0.75
        assert run.data.tags["mlflow.note.content"] == "The search **did** help."
        assert run.data.tags["winnow.verdict"] == "yes", "a tag is a column"
        assert "ece" not in run.data.metrics, "a number that is none is left out of the table"


def test_the_record_travels_with_the_artifacts(scene):
    record = json.loads((scene.root / "artifacts/runs/good.json").read_text())
    assert record == scene.done["good"].record
    assert record["run_id"] == scene.by_name["good"].info.run_id
    assert record["tracking_uri"] == "sqlite:///.winnow/mlflow.db"
    assert scene.by_name["good"].data.tags["winnow.upstream.prepare"] == "made-by-prepare"


def test_the_model_is_registered_without_pickle_and_takes_any_batch(scene):
    (logged,) = scene.done["good"].record["models"]
    assert (logged["registered"], logged["alias"]) == ("winnow-test", "candidate")
    assert scene.model.source == logged["uri"]
    folder = scene.root / ".winnow/mlartifacts/models" / logged["model_id"]
    names = {path.name for path in folder.rglob("*")}
    assert "model.pt2" in names
    assert not {name for name in names if name.endswith((".pkl", ".pth"))}
    (taken,) = json.loads(yaml.safe_load((folder / "artifacts/MLmodel").read_text())["signature"]["inputs"])
    assert taken["tensor-spec"] == {"dtype": "float32", "shape": [-1, 3, 4, 4]}


def test_trials_are_finished_runs_below_their_stage_and_the_best_have_their_model(scene):
    trials = [run for run in scene.runs if run.data.tags["winnow.stage"] == "trial"]
    assert sorted(run.info.run_name for run in trials) == ["good trial 0", "good trial 1"]
    good = scene.by_name["good"].info.run_id
    for run in trials:
        number = int(run.data.tags["winnow.trial"])
        assert run.data.tags["mlflow.parentRunId"] == good
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"loss": number}, "what is not finite is left out"
        assert run.data.params == {"lr": str(0.1 * number)}
    models = (scene.root / ".winnow/mlartifacts/models").glob("*/artifacts/MLmodel")
    of = [yaml.safe_load(path.read_text())["run_id"] for path in models]
    (best,) = [run for run in trials if run.data.tags["winnow.trial"] == "0"]
    assert sorted(of) == sorted([good, best.info.run_id])


def test_a_model_that_cannot_be_built_is_told_and_does_not_fail_the_stage(scene):
    assert scene.done["good"].code == 0
    assert "the model broken was not logged" in scene.done["good"].err


def test_wandb_holds_the_same_run_offline(scene):
    (folder,) = (scene.root / ".winnow/wandb").glob("offline-run-*")
    (log,) = folder.glob("*.wandb")
    assert folder.name.endswith(scene.done["good"].record["run_id"])
    assert b"train/loss" in log.read_bytes()
    assert (folder / "files/found/architecture.json").read_text() == '{"op": "conv"}'


def test_no_password_is_written_anywhere(scene):
    with contextlib.closing(sqlite3.connect(scene.root / ".winnow/mlflow.db")) as database:
        dump = "\n".join(database.iterdump())
    assert "example.org" in dump
    assert "secret@" not in dump
    for path in [*scene.root.rglob("*.json"), *scene.root.rglob("*.wandb"), *scene.root.rglob("*.log")]:
        assert b"secret@" not in path.read_bytes(), path


def test_a_server_that_is_away_is_replaced_by_the_local_store_when_allowed(scene):
    assert "the tracking server http://127.0.0.1:1 cannot be used: connection refused" in scene.done["fail"].err
    assert "connection refused" in scene.by_name["fail"].data.tags["winnow.tracking_fallback"]


def test_the_shipper_ends_by_itself(scene):
    wait_for(lambda: not shippers(scene.root), patience=30)
    assert not list((scene.root / ".winnow/runs").iterdir())


@pytest.fixture
def server(scene):
    """MLflow's own server on the store of the scene, on one free port, to be started and stopped at will."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running: list[subprocess.Popen] = []

    def start() -> str:
        from winnow.tracking.answers import trouble

        with mock.patch.dict(os.environ):
            os.environ.pop("MLFLOW_TRACKING_URI", None)
            command, environment = ui_command(scene.root, port=port), ui_environment(scene.root)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
        running.append(subprocess.Popen(command, cwd=scene.root, env=environment, **quiet))
        wait_for(lambda: trouble(f"http://127.0.0.1:{port}") is None)
        return f"http://127.0.0.1:{port}"

    def stop() -> None:
        while running:
            process = running.pop()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    yield SimpleNamespace(start=start, stop=stop)
    stop()


@pytest.mark.slow
def test_a_server_that_dies_loses_nothing(scene, server):
    address = server.start()
    stage = launch(scene.root, "slow", f'uri="{address}"')
    runs = scene.root / ".winnow/runs"
    (spool,) = wait_for(lambda: list(runs.glob("slow-*")))
    wait_for(lambda: shipped(spool)["offset"] > 0)
    server.stop()
    time.sleep(1)  # metrics of this second meet a server that is gone
    (scene.root / "go on").touch()
    told = finish(stage)
    assert told.code == 0
    assert "not everything of this run got through" in told.err
    assert told.record["run_id"], "known from before"

    server.start()
    replay = told.err.split("`")[1].split()
    assert subprocess.run([sys.executable, *replay[1:]], cwd=scene.root, check=True, capture_output=True).stdout
    with contextlib.closing(sqlite3.connect(scene.root / ".winnow/mlflow.db")) as database:
        query = "SELECT count(*), count(DISTINCT step), max(step) + 1 FROM metrics WHERE run_uuid = ? AND key = 'loss'"
        rows, steps, last = database.execute(query, [told.record["run_id"]]).fetchone()
        status = database.execute("SELECT status FROM runs WHERE run_uuid = ?", [told.record["run_id"]]).fetchone()
    assert rows == steps == last >= 20
    assert status == ("FINISHED",)
    assert not spool.exists()


@pytest.mark.slow
def test_a_killed_shipper_is_replaced_before_the_stage_ends(scene):
    (scene.root / "go on").unlink(missing_ok=True)
    stage = launch(scene.root, "slow")
    (spool,) = wait_for(lambda: list((scene.root / ".winnow/runs").glob("slow-*")))
    wait_for(lambda: shipped(spool)["offset"] > 0)
    for shipper in shippers(scene.root):
        os.kill(shipper, signal.SIGKILL)
    (scene.root / "go on").touch()
    told = finish(stage)
    assert told.code == 0
    with contextlib.closing(sqlite3.connect(scene.root / ".winnow/mlflow.db")) as database:
        query = "SELECT status FROM runs WHERE run_uuid = ?"
        assert database.execute(query, [told.record["run_id"]]).fetchone() == ("FINISHED",)


@pytest.mark.slow
def test_the_registered_model_answers_any_batch(scene):
    code = (
        "import mlflow, torch; mlflow.set_tracking_uri('sqlite:///.winnow/mlflow.db');"
        "model = mlflow.pytorch.load_model('models:/winnow-test@candidate');"
        "print(tuple(model(torch.zeros(7, 3, 4, 4)).shape))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=scene.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "(7, 5)"


def test_numbers_go_together_past_files_and_no_file_passes_a_number_that_is_not_sent():
    from winnow.tracking.to_mlflow import _joined

    def metrics(step):
        return {"kind": "metrics", "step": step, "time": 0, "values": {"loss": float(step)}}

    drawing, model = {"kind": "artifact", "folder": "", "file": "files/1/a.svg"}, {"kind": "model"}
    events = [(20, metrics(0)), (30, drawing), (40, metrics(1)), (50, model), (60, metrics(2)), (70, drawing)]
    told = [(offset, event["kind"], len(event.get("numbers", ()))) for offset, event in _joined(events, 10)]
    assert told == [(10, "artifact", 0), (40, "metrics", 2), (50, "model", 0), (50, "artifact", 0), (70, "metrics", 1)]


def test_of_files_that_wait_for_one_path_the_newest_is_sent():
    from winnow.tracking.to_mlflow import MlflowRun

    def artifact(file, folder=""):
        return {"kind": "artifact", "folder": folder, "file": file}

    model = {"kind": "model"}
    run = SimpleNamespace(progress={"pending": []})
    for event in (artifact("files/1/a.svg"), model, artifact("files/2/a.svg", "b"), artifact("files/3/a.svg")):
        MlflowRun._keep_newest(run, event) if event is not model else run.progress["pending"].append(model)
    assert run.progress["pending"] == [model, artifact("files/2/a.svg", "b"), artifact("files/3/a.svg")]
