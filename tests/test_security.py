"""What comes in by a file is data: nothing in it is executed, unpacked to disk or listened to from outside.

The sources are read for calls that would break this (pickle is in tests/test_floors.py); each rule is shown to fail on
a planted line. The rest is tried.
"""

import ast
import gzip
import io
import os
import re
import tarfile

import pytest

from tests.test_floors import REPOSITORY, calls, sources
from winnow.config.reading import check_params, read_params
from winnow.core.errors import Refused
from winnow.data.sources.cifar10 import TEST, TRAIN, read_members
from winnow.run.revision import read_lock
from winnow.tracking import run as tracking_run
from winnow.tracking import track
from winnow.trials.record import public

UNPACKS = ("extractall", "extract", "unpack_archive", "Untar", "Unzip")
RUNS = ("eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")
YAML = (
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.unsafe_load_all",
    "yaml.full_load_all",
)
ANYWHERE = re.compile(r"""["']0\.0\.0\.0|["']::["']""")


def breaches(source: str) -> list[str]:
    """ "line: what" of calls that trust a file too much, and of addresses open to the network."""
    found = [f"{number}: {line.strip()}" for number, line in enumerate(source.splitlines(), 1) if ANYWHERE.search(line)]
    for call, name in calls(ast.parse(source)):
        shell = any(k.arg == "shell" and getattr(k.value, "value", True) for k in call.keywords)
        if name in (*RUNS, *YAML) or name.rpartition(".")[2] in UNPACKS or shell:
            found.append(f"{call.lineno}: {name}")
    return found


def test_no_source_trusts_what_comes_in_by_a_file():
    found = {str(path.relative_to(REPOSITORY)): breaches(path.read_text()) for _, path in sources()}
    assert not {name: lines for name, lines in found.items() if lines}


@pytest.mark.parametrize(
    "line",
    [
        "yaml.load(text, Loader=yaml.Loader)",
        "tar.extractall(folder)",
        "shutil.unpack_archive(path)",
        "pooch.retrieve(url, None, processor=pooch.Untar())",
        "subprocess.run(words, shell=True)",
        "eval(text)",
        "os.system(words)",
        "server.bind(('0.0.0.0', 80))",
    ],
)
def test_a_planted_breach_is_found(line):
    assert len(breaches(line)) == 1


def test_yaml_builds_no_objects(tmp_path):
    hostile = (
        f"seed: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{tmp_path}/touched']]\n"
    )
    (tmp_path / "params.yaml").write_text(hostile)
    with pytest.raises(Refused, match="not readable as YAML"):
        read_params(tmp_path / "params.yaml")
    with pytest.raises(Refused, match="not a lock file"):
        read_lock(hostile)
    assert not (tmp_path / "touched").exists()


def test_an_archive_writes_nowhere(tmp_path, monkeypatch):
    """Members outside their folder, links, devices: read_members takes the named regular files into memory, no more."""
    archive = tmp_path / "folder" / "hostile.tar.gz"
    archive.parent.mkdir()
    with gzip.open(archive, "wb") as stream, tarfile.open(fileobj=stream, mode="w:") as tar:
        for name in ("../outside", "/outside", TRAIN[0], TRAIN[0]):
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        for name, kind in ((TRAIN[1], tarfile.SYMTYPE), (TRAIN[2], tarfile.LNKTYPE), (TEST[0], tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    monkeypatch.chdir(archive.parent)
    assert read_members(archive, TRAIN[:1]) == {TRAIN[0]: b"x"}
    for name in (TRAIN[1], TRAIN[2], TEST[0]):
        with pytest.raises(Refused, match="has no"):
            read_members(archive, (name,))
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "hostile.tar.gz"]


LOCKS = ("requirements.lock", "requirements-dev.lock")


def test_the_lock_names_one_version_of_everything():
    """What an audit, and a second machine, can rely on."""
    lines = [line for name in LOCKS for line in (REPOSITORY / name).read_text(encoding="utf-8").splitlines()]
    assert all(re.fullmatch(r"[A-Za-z0-9_.\-]+==[0-9][A-Za-z0-9_.]*", line) for line in lines)
    assert len({line.partition("==")[0].lower().replace("_", "-") for line in lines}) == len(lines)


SECRET = "hunter2hunter2"
CARRIED = [  # every form in which an address carries a secret
    f"http://me:{SECRET}@127.0.0.1:1/mlflow",
    f"https://{SECRET}@127.0.0.1:1",
    f"http://127.0.0.1:1/mlflow?token={SECRET}",
    f"postgresql://me:{SECRET}@127.0.0.1:1/db",
    f"postgresql://127.0.0.1:1/db?user=me&password={SECRET}",
    f"postgresql+psycopg://me:%40{SECRET}@127.0.0.1:1/db",
    f"mysql+pymysql://me:a%2F{SECRET}@127.0.0.1:1/db",
    *(f"postgresql://me:{mark}{SECRET}@127.0.0.1:1/db" for mark in "@/#[]?"),
]


@pytest.mark.parametrize("address", CARRIED)
@pytest.mark.parametrize("carrier", ["MLFLOW_TRACKING_URI", "tracking.uri", "trials.storage"])
def test_a_secret_leaves_a_stage_in_no_way(address, carrier, tmp_path, monkeypatch, capfd):
    """Arguments of the processes it starts, terminal, refusals, files, and with these all tags and parameters."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    started = []
    monkeypatch.setattr(os, "posix_spawn", lambda program, words, environment, **_: started.append(words))
    monkeypatch.setattr(tracking_run, "_wait", lambda *_: {"problems": [f"no answer from {address}"], "run_id": "x"})
    content = {"tracking": {"uri": None}, "trials": {"storage": None}}
    if carrier == "MLFLOW_TRACKING_URI":
        monkeypatch.setenv(carrier, address)
    else:
        section, _, name = carrier.partition(".")
        content[section][name] = address
    told = ""
    try:
        params = check_params(content)
        what = {"params": params.model_dump(), "root": tmp_path, "tracking": params.tracking}
        with track("search", **what) as run:
            run.tag("winnow.study", f"look at it with optuna-dashboard {address}")
            run.note(f"[the study]({address})")
            run.summary({"accuracy": 0.5}, note=f"see {address}")
            run.child("trial", params={"where": address}, metrics={}, tags={})
        if carrier == "trials.storage":
            told = public(address)[0]
        assert started
    except Refused as refusal:
        told = str(refusal)
        assert "encoded" in told or "SQLite or PostgreSQL" in told
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    out, err = capfd.readouterr()
    for text in (told, out, err, str(started), *(content.decode() for content in written)):
        assert SECRET not in text
