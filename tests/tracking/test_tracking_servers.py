"""Servers that refuse, are old, are slow or have a certificate of their own: MLflow's own behind a faulty proxy.

Whatever one of them does not take is told once; all the rest arrives, and the run ends.
"""

import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.tracking.faulty_proxy import faulty_proxy
from tests.tracking.test_tracking import finish, launch, shippers, wait_for

pytestmark = pytest.mark.slow
HTML = b"<html>no</html>"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    from winnow.tracking.answers import trouble

    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with open(folder / "log", "w") as log:
        running = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
        )
    wait_for(lambda: trouble(f"http://127.0.0.1:{port}") is None)
    yield port
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


@pytest.fixture
def run(server, tmp_path):
    """Run a stage against the server behind `rules`; what came of it, by a client that goes round the proxy."""

    def go(*rules, delay=0.0, mode="evaluate", certificate=None, **variables):
        from mlflow import MlflowClient

        with faulty_proxy(server, certificate) as proxy:
            proxy.rules, proxy.delay = list(rules), delay
            experiment = f'experiment="{tmp_path.name}"'
            stage = launch(tmp_path, mode, f'uri="{proxy.address}"', experiment, "required=false", **variables)
            done = finish(stage)
            client = MlflowClient(f"http://127.0.0.1:{server}")
            runs = {}
            if found := client.get_experiment_by_name(tmp_path.name):
                runs = {each.info.run_name: each for each in client.search_runs([found.experiment_id])}
            files = {f.path for f in client.list_artifacts(runs[mode].info.run_id)} if mode in runs else set()
            models = client.search_logged_models([found.experiment_id]) if found else []
            return SimpleNamespace(done=done, proxy=proxy, runs=runs, run=runs.get(mode), files=files, models=models)

    yield go
    for shipper in shippers(tmp_path):
        os.kill(shipper, signal.SIGTERM)


def arrived(told, files=("environment.json", "params.json", "found.json")):
    """All that the stage said but for what a test takes from it."""
    assert told.done.code == 0, told.done.err
    assert told.run.info.status == "FINISHED", told.done.err
    (parent,) = [each for each in told.runs.values() if each.data.tags["winnow.stage"] == "pipeline"]
    assert parent.info.status == "FINISHED"
    assert told.run.data.metrics["loss"] == 0.25
    assert told.run.data.metrics["accuracy_mean"] == 0.75
    assert told.run.data.params["search.lr"] == "0.025"
    assert told.run.data.tags["winnow.colour"] == "blue"
    assert told.files == set(files)
    assert "not everything" not in told.done.err


def test_all_is_well_and_the_model_names_no_secret(run):
    told = run()
    arrived(told)
    (model,) = told.models
    assert told.done.record["models"][0]["registered"] == "winnow-test"
    assert "hunter2" not in repr(model.tags)
    assert "warning" not in told.done.err


def test_no_right_to_register(run):
    told = run(("(registered-models|model-versions)", 403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}'))
    arrived(told)
    (model,) = told.models
    assert [each["model_id"] for each in told.done.record["models"]] == [model.model_id]
    assert "registration as winnow-test was refused: PERMISSION_DENIED" in told.done.err


def test_an_old_server_without_logged_models(run):
    told = run(("logged-models", 404, HTML))
    arrived(told)
    assert "the server is too old for models" in told.done.err
    assert told.done.record["models"] == []


def test_a_proxy_that_takes_no_files(run):
    told = run(("PUT .*mlflow-artifacts/artifacts", 413, HTML))
    arrived(told, files=())
    assert "the file found.json (14 bytes) was refused: 413" in told.done.err
    assert "the file environment.json was refused: 413" in told.done.err


def test_files_that_fail_for_now_hold_back_no_number(run):
    told = run(("PUT .*/found.json", 503, HTML))
    assert told.run.info.status == "FINISHED"
    assert told.run.data.metrics["accuracy_mean"] == 0.75
    assert told.files == {"environment.json", "params.json"}
    assert told.done.record["models"][0]["registered"] == "winnow-test"


def test_one_event_that_never_gets_through_holds_back_nothing(run):
    told = run(("runs/log-batch", 500, HTML), mode="say")
    assert told.run.info.status == "FINISHED"
    assert told.run.data.tags["winnow.colour"] == "blue"
    assert "found.json" in told.files
    assert "shipper replay" in told.done.err, "and what is missing can be sent later"


def test_a_server_with_a_certificate_of_its_own(run, tmp_path):
    where = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert"), "-days", "2", "-nodes"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", *where, *name], check=True, capture_output=True)
    (tmp_path / "both").write_text((tmp_path / "key").read_text() + (tmp_path / "cert").read_text())
    for variables in (
        {"MLFLOW_TRACKING_INSECURE_TLS": "true"},
        {"MLFLOW_TRACKING_SERVER_CERT_PATH": str(tmp_path / "cert")},
        {"REQUESTS_CA_BUNDLE": str(tmp_path / "cert")},
    ):
        told = run(mode="say", certificate=tmp_path / "both", **variables)
        assert told.done.record["tracking_uri"].startswith("https://"), (variables, told.done.err)
    told = run(mode="say", certificate=tmp_path / "both")
    assert told.done.record["tracking_uri"] == "sqlite:///.winnow/mlflow.db"
    assert "certificate verify failed" in told.done.err


def test_a_slow_server_does_not_hold_the_stage(run):
    told = run(mode="say", delay=2.0)
    assert told.done.code == 0
    assert "the rest is sent while you go on" in told.done.err
    assert told.done.record["run_id"]
