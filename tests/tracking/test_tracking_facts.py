"""Tracking without a store: what is recorded about a run, which address is used, what is never written down."""

import contextlib
import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import psutil
import pytest

from winnow.core.errors import Refused
from winnow.tracking import facts, free, local, store, to_wandb, track, ui_command, ui_environment, ui_url
from winnow.tracking import run as run_module
from winnow.tracking.launch import ensure_shipper, lock_path
from winnow.tracking.shipper import Shipment
from winnow.tracking.spool import Reader, Spool


def test_parameters_get_dotted_keys_and_json_values():
    params = {"seed": 1, "search": {"steps": [1, 2], "method": "darts", "limit": None, "empty": {}}, "a": {"on": True}}
    assert facts.flatten(params) == {
        "seed": "1", "search.steps": "[1, 2]", "search.method": "darts", "search.limit": "null", "search.empty": "{}",
        "a.on": "true",
    }  # fmt: skip


def test_long_parameters_are_cut_but_still_told_apart():
    one, other = ({"x": "a" * 7000 + end} for end in "bc")
    assert len(facts.flatten(one)["x"]) <= facts.LONGEST_PARAM
    assert facts.flatten(one) != facts.flatten(other)


def test_a_pipeline_run_is_its_parameters_commit_and_project(tmp_path):
    params = {"seed": 1, "tracking": {"wandb": False}}
    same = facts.pipeline_id({"tracking": {"wandb": True}, "seed": 1}, "abc", tmp_path)
    assert facts.pipeline_id(params, "abc", tmp_path) == same
    others = [({"seed": 2}, "abc", tmp_path), (params, "abd", tmp_path), (params, "abc", tmp_path / "other")]
    assert len({facts.pipeline_id(*other) for other in others} | {same}) == 4


def test_git_says_what_was_not_committed(tmp_path):
    def git(*words):
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True)

    assert facts.git(tmp_path) == {}
    git("init", "-b", "trunk")
    assert facts.git(tmp_path) == {}, "a repository without a commit"
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    git("add", ".")
    git("commit", "-m", "first")
    clean = facts.git(tmp_path)
    assert (clean["dirty"], clean["diff"], clean["branch"], len(clean["commit"])) == (False, "", "trunk", 40)
    (tmp_path / "params.yaml").write_text("seed: 2\nuri: http://me:secret@host\n")
    dirty = facts.git(tmp_path)
    assert dirty["dirty"]
    assert "+seed: 2" in dirty["diff"]
    assert "secret" not in dirty["diff"]


def test_the_environment_names_machine_and_versions():
    import torch

    told = json.loads(json.dumps(facts.environment()))
    number = [text.partition("+")[0] for text in (told["versions"]["torch"], torch.__version__)]
    assert number[0] == number[1]  # of the CUDA build the package's version says no more, and `cuda` which it is
    assert told["torch_threads"] == torch.get_num_threads()
    assert told["cpu"]
    assert told["isa"]
    assert {"winnow.cpu", "winnow.isa", "winnow.threads", "winnow.torch"} <= facts.environment_tags(told).keys()


def test_the_state_is_kept_by_the_project_not_by_a_passing_copy(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert store.state_folder(tmp_path) == tmp_path / ".winnow"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    assert store.state_folder(tmp_path / "copy") == tmp_path / "project" / ".winnow"


def test_the_environment_beats_the_parameter_and_sqlite_paths_are_the_projects(tmp_path, monkeypatch):
    state = tmp_path / ".winnow"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert store.choose_uri(None, state) == f"sqlite:///{state}/mlflow.db"
    assert store.choose_uri("sqlite:///runs.db", state) == f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host")
    assert store.choose_uri("sqlite:///runs.db", state) == "http://host"
    assert store.portable_uri(store.local_uri(state), state) == "sqlite:///.winnow/mlflow.db"


def test_credentials_leave_the_address_for_the_variables():
    clean, names = store.split_credentials("https://me:s%40t@host:8443/mlflow")
    assert clean == "https://host:8443/mlflow"
    assert names == {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s@t"}
    assert store.split_credentials("postgresql://me:s@host/db") == ("postgresql://me:s@host/db", {})


def wait_for(what, patience=20.0):
    until = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.02)
    return found


def serve_bytes(answer):
    """A server on loopback that reads what comes and sends `answer`, or nothing at all where it is None."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        kept = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            kept.append(connection)
            if answer is not None:
                connection.recv(65536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):  # a connection closed with something unread is reset
                    pass
                connection.close()

    threading.Thread(target=run, daemon=True).start()
    return listener


def http(status, body=b"{}"):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(200), None),
        (http(401, b"no"), "does not accept our credentials"),
        (http(403, b"no"), "does not accept our credentials"),
        (http(404, b"<html>"), "not MLflow"),
        (http(500), "answers HTTP 500"),
        (http(501, b"<!DOCTYPE html>"), "answers HTTP 501"),
        (http(200, b"<html>"), "not MLflow"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not MLflow"),
        (http(200)[:-2] + b"{", "not MLflow"),  # breaks off
        (None, "no answer within 1 second"),
    ],
    ids=["well", "401", "403", "404", "500", "501", "html", "ssh", "torn", "silent"],
)
def test_a_server_is_asked_by_mlflows_own_client(answer, said, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from winnow.tracking import answers

    monkeypatch.setattr(answers, "PATIENCE", 1.0 if answer is None else 30.0)  # a busy machine is no silent server
    with contextlib.closing(serve_bytes(answer)) as listener:
        told = answers.trouble(f"http://127.0.0.1:{listener.getsockname()[1]}/mlflow")
    assert told is None if said is None else said in told


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:1", "refused"),
        ("http://no-such-host.invalid", "no host of this name"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/db", "refused"),
        ("sqlite:////no/such/folder/mlflow.db", "unable to open"),
        ("file:///tmp/mlruns", "maintenance mode"),
        ("nosuchplugin://x", "unsupported URI"),
    ],
)
def test_an_address_is_what_mlflow_takes(address, said, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    from winnow.tracking import answers

    told = answers.trouble(address)
    assert said in told
    assert "hunter2" not in told


def test_what_may_get_through_later_is_told_from_what_was_refused():
    import requests
    from mlflow.exceptions import MlflowException, RestException

    from winnow.tracking.answers import transient

    def answered(status):
        response = requests.Response()
        response.status_code = status
        return requests.HTTPError(f"{status}", response=response)

    def said(status):
        return MlflowException(f"API request to endpoint /x failed with error code {status} != 200. Response body: ''")

    later = (408, 429, 500, 502, 503, 504)
    for status in (*later, 400, 401, 403, 404, 405, 413, 422, 501):
        assert transient(answered(status)) == transient(said(status)) == (status in later), status
    assert transient(MlflowException("API request to http://h failed with exception Max retries exceeded"))
    assert transient(ConnectionResetError())
    assert transient(OSError(errno.ENOSPC, "full"))
    assert transient(requests.ConnectionError("no"))
    for code in ("PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "ENDPOINT_NOT_FOUND"):
        assert not transient(RestException({"error_code": code, "message": "no"}))
    assert not transient(FileNotFoundError(errno.ENOENT, "gone"))
    assert not transient(KeyError("x"))


@pytest.mark.parametrize("name", ["a?b=c", "100% #1", "ä ö&x", "it's", "a%3Fb", "semi;colon"])
def test_any_folder_name_can_hold_the_store(name, tmp_path):
    from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

    state = tmp_path / name / ".winnow"
    state.mkdir(parents=True)
    uri = store.local_uri(state)
    engine = create_sqlalchemy_engine_with_retry(uri)  # as MLflow's stores open it
    engine.connect().close()
    engine.dispose()
    assert (state / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing beside it"
    assert store.portable_uri(uri, state) == "sqlite:///.winnow/mlflow.db"
    assert store.absolute_uri("sqlite:///.winnow/mlflow.db", state) == uri


def test_looking_for_the_page_makes_no_store(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    (tmp_path / ".winnow").mkdir()
    assert ui_url(tmp_path, port=5001).startswith("http://winnow.localhost:5001/#/experiments?")
    assert not (tmp_path / ".winnow/mlflow.db").exists()


def tracking(**changes):
    usual = {"enabled": True, "uri": None, "experiment": "winnow", "required": True, "wandb": False}
    return SimpleNamespace(**usual | {"system_metrics": False, "registered_model": "winnow-test"} | changes)


def test_a_required_server_that_is_away_refuses_the_stage_before_it_works(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("WINNOW_SHIPPER_LINGER", "1")
    away = tracking(uri="http://me:hunter2@127.0.0.1:1")
    told = r"http://127\.0\.0\.1:1 cannot be used: connection refused.*tracking\.required: false"
    with pytest.raises(Refused, match=told) as refusal, track("search", params={}, root=tmp_path, tracking=away):
        pytest.fail("the stage must not start")
    assert "hunter2" not in str(refusal.value)
    assert not list((tmp_path / ".winnow").glob("runs/*"))


@pytest.mark.parametrize("variable", [True, False])
def test_a_raw_password_refuses_the_stage_and_is_shown_nowhere(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    raw = "postgresql://me:hun#ter2@127.0.0.1/db"
    if variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", raw)
    asked = tracking(uri=None if variable else raw)
    told = rf"{'MLFLOW_TRACKING_URI' if variable else 'tracking.uri'} is postgresql://….*encoded"
    with pytest.raises(Refused, match=told) as refusal, track("search", params={}, root=tmp_path, tracking=asked):
        pytest.fail("the stage must not start")
    assert "hun" not in str(refusal.value)


@pytest.mark.parametrize(
    "address", ["sqlite://", "sqlite:///:memory:", "sqlite+pysqlite:///file:x?mode=memory&uri=true"]
)
def test_a_store_in_memory_is_refused_as_it_would_be_lost(address, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(Refused, match=r"tracking.uri is sqlite.*, a database in memory"):
        store.choose_uri(address, tmp_path)


def test_blanks_around_an_address_are_no_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", " http://u:p@127.0.0.1:5000\n")
    assert store.choose_uri(None, tmp_path) == "http://u:p@127.0.0.1:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    assert store.choose_uri(None, tmp_path) == "databricks"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")
    assert store.choose_uri(None, tmp_path / ".winnow") == f"{tmp_path}/mlruns"


def test_without_tracking_nothing_is_started_and_a_record_is_still_written(tmp_path, monkeypatch):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with track("search", params={}, root=tmp_path, tracking=tracking(enabled=False)) as run:
        run.metric("loss", 1.0)
        run.artifact(tmp_path / "absent.png")
        run.model("nowhere:none", ["absent"], (1,))
    assert json.loads((tmp_path / "artifacts/runs/search.json").read_text())["run_id"] is None
    assert not (tmp_path / ".winnow").exists()


def test_a_moved_project_keeps_its_artifacts(tmp_path):
    old, new = "file:///home/a_b/.winnow/mlartifacts", "file:///elsewhere/.winnow/mlartifacts"
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        for table, column in local.ADDRESSES:
            database.execute(f"CREATE TABLE {table} (experiment_id INTEGER, {column} TEXT)")
            database.execute(f"INSERT INTO {table} VALUES (0, '{old}/0'), (1, '{old}/r1'), (2, 's3://bucket/r2')")
    for _ in range(2):  # the second time there is nothing left to do
        local.follow(tmp_path / "mlflow.db", new)
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            for table, column in local.ADDRESSES:
                told = [row[0] for row in database.execute(f"SELECT {column} FROM {table}")]
                assert told == [f"{new}/0", f"{new}/r1", "s3://bucket/r2"]


def test_wandb_is_online_only_with_a_login(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not to_wandb.logged_in()
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password key\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert to_wandb.logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not to_wandb.logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "key")
    assert to_wandb.logged_in()


def test_a_full_disk_is_said_in_a_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "events.jsonl")

    def fill_the_disk():
        with track("search", params={}, root=tmp_path, tracking=tracking()) as run:
            run.metric("loss", 1.0)
            monkeypatch.setattr(run_module.Spool, "write", full)
            run.metric("loss", 0.5)

    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setattr(run_module, "ensure_shipper", lambda *_: None)
    monkeypatch.setattr(run_module, "_wait", lambda *_: {"problems": []})
    with pytest.raises(Refused, match=r"cannot be written to events\.jsonl: No space left on device; make room"):
        fill_the_disk()


def test_a_shipper_that_cannot_stay_does_not_hold_the_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(run_module, "RESTARTS", 0)
    monkeypatch.setattr(run_module, "ensure_shipper", lambda *_: True)
    with track("search", params={}, root=tmp_path, tracking=tracking()) as run:
        run.metric("loss", 1.0)
    assert "its shipper does not stay" in capsys.readouterr().err
    assert run.record["run_id"] is None
    assert list((tmp_path / ".winnow/runs").glob("search-*/events.jsonl")), "nothing is lost"


def test_a_stage_that_has_not_begun_is_left_alone_and_one_that_died_before_it_did_is_cleared(tmp_path):
    """Its folder appears before its first event; on a busy machine the shipper looks in between."""
    spool = Spool(tmp_path, "search")
    with pytest.raises(BlockingIOError, match="has not begun"):
        Shipment(spool.folder)
    assert (spool.folder / "events.jsonl").is_file()
    spool.write("start", stage="search", uri="sqlite:///mlflow.db")
    shipment = Shipment(spool.folder)
    assert shipment.start["stage"] == "search"
    assert not shipment.over
    shipment.reader.close()
    spool.close()
    dead = Spool(tmp_path, "select")
    dead.close()
    shipment = Shipment(dead.folder)
    assert shipment.over
    assert shipment.leave()
    assert not dead.folder.exists()


def test_a_torn_line_does_not_hide_the_others(tmp_path):
    spool = Spool(tmp_path, "search")
    spool.write("start", stage="search")
    with open(spool.folder / "events.jsonl", "a") as log:
        log.write('{"kind": "metr\n{"kind": "tags", "values": {}}\n{"kind": "end", "stat')
    reader = Reader(spool.folder)
    assert [event["kind"] for _, event in reader.since(0)] == ["start", "tags"], "and the unfinished one waits"
    assert reader.stage_lives()
    with pytest.raises(BlockingIOError):
        Reader(spool.folder)
    spool.close()
    assert not reader.stage_lives()
    reader.close()


def test_the_page_is_refused_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    with pytest.raises(Refused, match="no runs to show"):
        ui_command(tmp_path)
    with pytest.raises(Refused, match=r"open http://host in a browser"):
        ui_command(tmp_path, "http://me:secret@host")
    (tmp_path / ".winnow").mkdir()
    (tmp_path / ".winnow" / "mlflow.db").touch()
    command = ui_command(tmp_path, port=5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert ui_environment(tmp_path)["MLFLOW_BACKEND_STORE_URI"] == f"sqlite:///{tmp_path}/.winnow/mlflow.db"
    database = "postgresql://me:hunter2@h/db"
    assert "hunter2" not in " ".join(ui_command(tmp_path, database)), "arguments are seen by everybody"
    assert ui_environment(tmp_path, database)["MLFLOW_BACKEND_STORE_URI"] == database
    assert ui_url(tmp_path, port=5001).startswith("http://winnow.localhost:5001/#/experiments?")


def test_a_port_that_is_taken_is_a_sentence_before_the_server_starts():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=f"port {port} of 127.0.0.1 cannot be used .Address already in use.: take"):
            free(port)
    free(port)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_what_ends_winnow_ui_ends_the_server_and_what_that_started(number):
    server = "import subprocess, sys; subprocess.run(['sleep', '60'])"
    code = (
        "import os, sys; from winnow.tracking import serve; print('up', flush=True);"
        f"sys.exit(serve([sys.executable, '-c', {server!r}], dict(os.environ)))"
    )
    quiet = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([sys.executable, "-c", code], **quiet) as page:
        assert page.stdout.readline() == "up\n"
        family = wait_for(lambda: len(found := psutil.Process(page.pid).children(recursive=True)) == 2 and found)
        page.send_signal(number)
        assert page.wait(20) == 128 + number
    gone, alive = psutil.wait_procs(family, timeout=5)
    assert len(gone) == 2
    assert not alive


def test_warnings_as_errors_of_a_stage_are_not_the_shippers(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setattr(os, "posix_spawn", lambda program, words, env, **_: given.update(env=env, words=words))
    ensure_shipper(tmp_path, "postgresql://me:hunter2@h/db")
    assert "PYTHONWARNINGS" not in given["env"]
    assert given["env"]["PYTHONUTF8"] == "1"
    assert "hunter2" not in " ".join(given["words"])
    assert given["env"]["MLFLOW_TRACKING_URI"] == "postgresql://me:hunter2@h/db"


def test_a_shipper_with_other_settings_is_another_shipper(tmp_path, monkeypatch):
    one = lock_path(tmp_path, "https://h")
    monkeypatch.setenv("MLFLOW_RUN_ID", "x")
    assert lock_path(tmp_path, "https://h") == one
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    assert lock_path(tmp_path, "https://h") != one


def test_an_unknown_wandb_mode_is_one_sentence_and_a_server_that_is_away_no_wait(tmp_path, monkeypatch):
    replayed = []
    monkeypatch.setattr(to_wandb, "_replay", lambda *given: replayed.append(given[-1]))
    monkeypatch.setenv("WANDB_MODE", "bogus")
    assert to_wandb.mirror(None, "r", "p").startswith("WANDB_MODE takes online, offline, shared")
    assert not replayed
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    assert "wandb does not answer (connection refused): the run is in .winnow/wandb" in to_wandb.mirror(None, "r", "p")
    assert replayed == ["offline"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert to_wandb.mirror(None, "r", "p") == ""
    assert replayed == ["offline", "disabled"]


def test_a_name_begins_with_what_differs_from_the_run_before():
    before = {"search.epochs": "30", "data.source": "digits", "tracking.uri": "a", "runtime.threads": "1"}
    given = {**before, "search.epochs": "50", "tracking.uri": "b", "runtime.threads": "2"}
    assert facts.differing(given, before) == "epochs 50"
    assert facts.differing(given, given) == facts.differing(given, {}) == ""
    many = {f"search.p{i}": "1" for i in range(5)}
    assert facts.differing({**before, **many}, before) == "p0 1, p1 1, p2 1, 2 more"
