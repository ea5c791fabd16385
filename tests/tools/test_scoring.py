"""Networks scored by workers: the same rows as in one process, also where a worker is killed; what they refuse."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from tests.clusters import NODE, cluster_of, ray_test
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.proxies.sweep import sweep
from winnow.system import locks
from winnow.tools import scoring
from winnow.tools.ranking import streams_of
from winnow.tools.scoring import Given, shared

ROOT = Path(__file__).parents[2]
NAMES = ["params", "synflow", "naswot", "expressivity"]
GIVEN = Given("nas_bench_201", shape=(3, 8, 8), batch=4)


def scores(folder: Path, workers: int, executor: str = "processes", address: str | None = None, **more) -> bytes:
    space, batch = GIVEN.made()
    stream = random.Random(0)
    archs = [space.decide(uniform(stream)) for _ in range(9)]
    by = shared(GIVEN, (space, batch), NAMES, folder, workers, executor, address)
    return sweep(space, archs, NAMES, batch, folder, streams=streams_of(0), part=3, by=by, **more).path.read_bytes()


def workers_below() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [each] if "winnow.trials.worker" in " ".join(each.cmdline()) else []
    return found


def test_a_worker_that_is_killed_changes_no_score(tmp_path):
    alone = scores(tmp_path / "one", 1)
    killed = []

    def kill(done: int, total: int) -> None:
        if 0 < done < total and not killed:
            killed.append(workers_below()[0])
            killed[0].send_signal(signal.SIGKILL)

    assert scores(tmp_path / "two", 2, progress=kill) == alone
    assert killed
    assert not list((tmp_path / "two").glob(".*")), "files in passing are left"
    assert not psutil.wait_procs(workers_below(), timeout=10)[1]


def test_workers_end_with_the_one_that_started_them_and_what_they_scored_is_kept(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from tests.tools.test_scoring import scores;"
        "scores(Path(sys.argv[1]), 2, progress=lambda done, total: done >= 6 and os.kill(os.getpid(), 9))"
    )
    environment = {**os.environ, "SWEEP_OF_TEST": str(tmp_path)}
    command = [sys.executable, "-c", code, str(tmp_path / "two")]
    died = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert 1 <= len(list((tmp_path / "two").glob("part-*.parquet"))) <= 3
    deadline = time.monotonic() + 30
    while left := [p for p in psutil.process_iter(["environ"]) if str(tmp_path) in (p.info["environ"] or {}).values()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert scores(tmp_path / "two", 2) == scores(tmp_path / "one", 1)
    assert not list((tmp_path / "two").glob(".*")), "what the killed one left stays"


def test_two_do_not_score_into_one_folder(tmp_path):
    (tmp_path / ".passing").mkdir()
    with (tmp_path / ".passing/lock").open("a+b") as lock:
        assert locks.take(lock)
        with pytest.raises(Refused, match=r"another process scores networks into .*name another --out"):
            scores(tmp_path, 2)
        assert (tmp_path / ".passing/lock").exists()
    scores(tmp_path, 2)
    assert not (tmp_path / ".passing").exists()


def test_what_a_worker_has_otherwise_is_a_sentence(tmp_path):
    mark = scoring._mark(GIVEN, NAMES, *GIVEN.made())
    with pytest.raises(Refused, match="all of them need this folder, at the same path"):
        scoring.scorer(asdict(GIVEN), NAMES, str(tmp_path / "elsewhere"), mark)
    for other in (asdict(GIVEN) | {"seed": 1}, asdict(GIVEN) | {"shape": [3, 8, 9]}):
        with pytest.raises(
            Refused, match="a worker has another winnow or torch, other code of the space, or other data"
        ):
            scoring.scorer(other, NAMES, str(tmp_path), mark)


@ray_test
def test_machines_of_a_cluster_score_what_one_process_does(tmp_path):
    with cluster_of(NODE) as cluster:
        cluster.add_node(**NODE)
        assert scores(tmp_path / "ray", 4, "ray", cluster.address) == scores(tmp_path / "one", 1)
