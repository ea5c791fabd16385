"""A PostgreSQL server of a test's own, on a free port of 127.0.0.1."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PASSWORD = "hunter2:/%"
USER = "winnow"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def binaries() -> Path | None:
    """The folder with initdb and postgres; the newest, where there are several."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return next((folder for folder in reversed(folders) if (folder / "postgres").exists()), None)


class PostgreSQL:
    """Runs as an ordinary user, which root has to be told; nothing that it writes outlasts a crash of the machine."""

    def __init__(self, folder: Path, binaries: Path):
        self.folder, self.binaries, self.port = folder, binaries, free_port()
        self.who = {} if os.getuid() else _ordinary()
        if self.who:
            shutil.chown(folder, self.who["user"], self.who["group"])
        (folder / "password").write_text(PASSWORD)
        self._run(
            "initdb", "-U", USER, "-E", "UTF8", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "--no-sync"
        )
        self.start()

    def url(self, password: str = PASSWORD) -> str:
        quoted = password.replace("%", "%25").replace(":", "%3A").replace("/", "%2F")
        return f"postgresql+psycopg://{USER}:{quoted}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        command = [self.binaries / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-h", "127.0.0.1"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*command, "-k", self.folder, "-c", "fsync=off"], stdout=log, stderr=log, cwd=self.folder, **self.who
            )
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            if self._run("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def _run(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PGDATA": str(self.folder / "data"), "LC_ALL": "C"}
        return subprocess.run(
            [self.binaries / name, *arguments],
            check=check, env=environment, cwd=self.folder, capture_output=True, text=True, **self.who,
        )  # fmt: skip


def _ordinary() -> dict[str, int]:
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
