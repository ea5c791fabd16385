"""A sweep: what it writes, how it goes on after a death, what it counts as equal and as missing."""

import math
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.errors import Refused
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.proxies import PROXIES
from winnow.proxies.sweep import sweep
from winnow.spaces.nas_bench_201 import from_string
from winnow.spaces.nb201_classes import effective
from winnow.train.seeds import generator

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from cases import DEAD_END, LIVE, UNFED, batch, built, nas_bench_201  # noqa: E402
from sweeping import NAMES, swept  # noqa: E402


def test_killed_and_run_again_gives_the_same_file(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, str(HERE / "sweeping.py"), str(killed), str(torch.get_num_threads())]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert sorted(p.name for p in killed.glob("*.parquet")) == ["part-00000.parquet", "part-00001.parquet"]
    (killed / ".part-00002.parquet.writing").write_bytes(b"half a file")
    parts = {p: p.stat().st_mtime_ns for p in killed.glob("part-*.parquet")}
    done = []
    first = swept(killed, progress=lambda *state: done.append(state))
    assert done == [(6, 9), (9, 9)]
    assert all(p.stat().st_mtime_ns == time for p, time in parts.items()), "scored again what was there"
    assert first.path.read_bytes() == swept(whole).path.read_bytes()
    assert not list(killed.glob(".*"))


def test_a_row_an_architecture_with_plain_scores(tmp_path):
    found = swept(tmp_path)
    table = pq.read_table(found.path)
    assert table.column_names == ["architecture", "scored", *NAMES, "reason"]
    assert (found.rows, found.distinct, table.num_rows) == (9, 9, 9)
    assert found.missing == dict.fromkeys(NAMES, 0)
    with_space = built(nas_bench_201, channels=4, cells=1, final=True)
    row = table.to_pylist()[4]
    child = with_space.derive(Architecture.from_json(row["architecture"]))
    for name in ("params", "macs", "snip", "synflow", "naswot"):
        assert row[name] == pytest.approx(PROXIES[name].score(child, batch()), rel=1e-5)


def test_equals_are_scored_once_and_keep_their_own_size(tmp_path):
    space = built(nas_bench_201, channels=4, cells=1, final=True)
    archs = [from_string(text) for text in (DEAD_END, UNFED, LIVE)]
    found = sweep(
        space,
        archs,
        ["params", "snip"],
        batch(),
        tmp_path,
        streams=lambda name: generator(0, name),
        represent=lambda arch: from_string(effective(arch)),
    )
    rows = pq.read_table(found.path).to_pylist()
    assert found.distinct == 1
    assert [row["params"] for row in rows] == [
        float(sum(p.numel() for p in space.derive(a).parameters())) for a in archs
    ]
    plain = [PROXIES["snip"].score(space.derive(arch), batch()) for arch in archs]
    assert [row["snip"] for row in rows] == pytest.approx(plain, rel=1e-6)
    assert {row["scored"] for row in rows} == {archs[2].to_json()}


class Broken(nn.Module):
    def __init__(self, fault: str):
        super().__init__()
        self.fault = fault

    def forward(self, x):
        return x.detach() if self.fault == "cut" else x * math.nan


def faulty() -> tuple[Space, list[Architecture]]:
    choice = Choice("last", {"good": nn.Identity(), "nan": Broken("nan"), "cut": Broken("cut")})
    space = Space(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), choice))
    return space, list(space.every())


def test_what_has_no_value_is_reported_with_its_architecture(tmp_path):
    space, archs = faulty()
    names = ["grad_norm", "naswot", "synflow"]
    found = sweep(space, archs, names, batch(), tmp_path, streams=lambda name: generator(0, name))
    rows = {Architecture.from_json(row["architecture"])["last"]: row for row in pq.read_table(found.path).to_pylist()}
    assert rows["good"]["reason"] == ""
    assert math.isnan(rows["nan"]["naswot"])
    assert "naswot: not a number" in rows["nan"]["reason"]
    assert "grad_norm: the network is not differentiable" in rows["cut"]["reason"]
    assert found.missing["grad_norm"] == 2


def test_another_sweep_is_not_mixed_in(tmp_path):
    swept(tmp_path, names=("params", "snip"), n=3)
    with pytest.raises(Refused, match="holds scores of another sweep"):
        swept(tmp_path, names=("params", "snip"), n=3, seed=1)
    with pytest.raises(Refused, match="holds scores of another sweep"):
        swept(tmp_path, names=("params", "grad_norm"), n=3)
    with pytest.raises(Refused, match="holds scores of another sweep"):
        swept(tmp_path, names=("params", "snip"), n=3, code="another forward pass, with the same weights")


def test_labels_names_and_lists_are_checked_first(tmp_path):
    with pytest.raises(Refused, match="'snip' needs labels"):
        swept(tmp_path / "a", labels=False)
    with pytest.raises(Refused, match="did you mean 'snip'"):
        swept(tmp_path / "b", names=("snap",))
    with pytest.raises(Refused, match="one architecture or more"):
        swept(tmp_path / "c", n=0)
    assert not list(tmp_path.iterdir())
