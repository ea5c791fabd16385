"""`winnow rank` and `winnow score` as they are typed: what they print and leave behind, refuse, and survive."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from winnow.cli import main as cli
from winnow.core.choosers import uniform
from winnow.data.prepare import prepare_splits
from winnow.run.files import write_architecture
from winnow.spaces.darts import darts
from winnow.spaces.nas_bench_201 import nas_bench_201
from winnow.tasks.classify import IMAGES
from winnow.tools import ranking_files
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import Row, as_table, write_table

MODULES = """
import numpy as np
import torch
from torch import nn
from winnow.data.labelled import classified, labelled
from winnow.data.source import Source
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.spaces.nas_bench_201 import nas_bench_201

def tiny(image_channels=3): return nas_bench_201(channels=4, cells=1, classes=4, final=True)

def sized(classes, image_channels): return nas_bench_201(channels=4, cells=1, classes=classes, final=True,
                                                         image_channels=image_channels)

def photos(count):
    labels = np.arange(12 * count) % count
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 1, 8, 8), dtype=np.uint8)
    return classified(labelled(images, labels), None, tuple(f"kind {i:03}" for i in range(count)))

def three(options): return photos(3)
def many(options): return photos(120)

class Odd(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change
    def forward(self, x): return self.change(x)

CHANGES = {"good": torch.tanh, "cut": torch.Tensor.detach, "nan": lambda x: x * torch.nan, "zero": lambda x: x * 0}

def odd():
    choice = Choice("last", {name: Odd(change) for name, change in CHANGES.items()})
    return Space(nn.Sequential(*stem(), choice))

def stem(): return nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
def network(): return nn.Sequential(*stem(), nn.Linear(4, 4))
def gray(): return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
def fixed(): return nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A project without tracking, with spaces and networks of the user's own."""
    (tmp_path / "my_things.py").write_text(MODULES)
    (tmp_path / "params.yaml").write_text("tracking: {enabled: false}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("my_things", None)


def table_of(archs: list) -> None:
    rows = [
        Row(i, a.to_json(), a.digest, "{}", {}, {}, {"accuracy": float(i)}, COMPLETE, None, 0, {}, 0.0, "", "")
        for i, a in enumerate(archs)
    ]
    write_table(Path("table.parquet"), as_table(rows))


def tiny_table(n: int) -> None:
    space, stream = nas_bench_201(channels=4, cells=1), random.Random(0)
    table_of(list(dict.fromkeys(space.decide(uniform(stream)) for _ in range(n))))


def odd_table() -> None:
    import my_things

    table_of(list(my_things.odd().every()))


RANK = ["rank", "--table", "table.parquet", "--metric", "accuracy", "--batch", "4", "--resamples", "5"]
TINY = [*RANK, "--space", "my_things:tiny", "--input-shape", "3,8,8"]
ODD = [*RANK, "--space", "my_things:odd", "--input-shape", "3,8,8"]


def test_rank_prints_and_keeps_rows_beside_size(capsys, monkeypatch):
    runs = []

    class Heard:
        def __init__(self):
            self.said, self.files = {}, []

        def metrics(self, values):
            self.said |= values

        def artifact(self, path):
            self.files.append(path.name)

        def note(self, text):
            self.title = text

    @contextlib.contextmanager
    def listening(stage, *, params, **options):
        runs.append(Heard())
        assert (stage, params["rank"]["proxies"]) == ("rank", ["synflow", "naswot"])
        yield runs[-1]

    monkeypatch.setattr(ranking_files, "track", listening)
    tiny_table(20)
    assert cli.run([*TINY, "--proxies", "synflow,naswot"]) == 0
    printed = capsys.readouterr().out
    assert "accuracy at full, 20 of my_things:tiny" in printed
    assert {line.split()[0] for line in printed.splitlines()[2:6]} == {"params", "macs", "synflow", "naswot"}
    rows = {row["proxy"]: row for row in pq.read_table("rank/rank.parquet").to_pylist()}
    assert {"kendall_low", "spearman_high", "given_size", "top_precision_low", "ndcg_top_high"} <= set(rows["synflow"])
    assert pq.read_table("rank/scores.parquet").num_rows == 20
    assert "naswot" in Path("rank/rank.svg").read_text()
    assert runs[0].said["synflow.kendall"] == rows["synflow"]["kendall"]
    assert runs[0].files == ["rank.parquet", "rank.svg", "scores.parquet"]


def test_scores_of_an_edited_space_are_not_mixed(folder, capsys):
    tiny_table(4)
    assert cli.run([*TINY, "--proxies", "synflow"]) == 0
    assert cli.run([*TINY, "--proxies", "synflow"]) == 0
    with (folder / "my_things.py").open("a") as module:
        module.write("\n# another forward pass\n")
    capsys.readouterr()
    assert cli.run([*TINY, "--proxies", "synflow"]) == 2
    assert "holds scores of another sweep (space, its code" in capsys.readouterr().err


def test_rank_tells_rate_and_time_left_from_the_first_networks_on(capsys):
    tiny_table(70)
    assert cli.run([*TINY, "--proxies", "naswot", "--workers", "1"]) == 0
    told = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"  scored 0 of \d+", told[0])
    assert re.fullmatch(r"  scored 2 of \d+, [\d.e+]+ a second, [\d.]+ (s|min|h) left", told[1])
    assert told[-1].endswith(", 0 s left")


@pytest.mark.slow
def test_rank_is_killed_and_writes_the_same_files(folder):
    tiny_table(200)
    command = [*TINY, "--proxies", "synflow,naswot"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen([sys.executable, "-m", "winnow", *command, "--out", "killed"], **quiet)
    while len(list(Path("killed").glob("part-*.parquet"))) < 2 and running.poll() is None:
        time.sleep(0.005)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert not Path("killed/rank.parquet").exists()
    for out in ("killed", "whole"):
        assert cli.run([*command, "--out", out, "--workers", "1"]) == 0
    for name in ("rank.parquet", "scores.parquet", "rank.svg"):
        assert Path("killed", name).read_bytes() == Path("whole", name).read_bytes()


@pytest.mark.parametrize(("source", "classes"), [("three", 3), ("many", 120)])
def test_networks_have_as_many_logits_as_the_split_has_classes(source, classes, capsys):
    fractions = {"weights": 0.5, "arch": 0.3, "select": 0.2}
    prepare_splits(Path("splits"), IMAGES, source=f"my_things:{source}", seed=0, fractions=fractions, test_fraction=0.2)
    space = nas_bench_201(channels=4, cells=1, classes=classes, final=True, image_channels=1)
    arch = space.decide(lambda d: "nor_conv_3x3")
    table_of([arch, space.decide(lambda d: "skip_connect"), space.decide(lambda d: "nor_conv_1x1")])
    asked = ["--space", "my_things:sized", "--data", "splits", "--proxies", "params,snip,epe"]
    asked += ["--batch", "12" if classes == 3 else "48"]
    assert cli.run(["rank", "--table", "table.parquet", "--metric", "accuracy", "--resamples", "5", *asked]) == 0
    rows = pq.read_table("rank/scores.parquet").to_pylist()
    assert all(np.isfinite([row[name] for name in ("snip", "epe")]).all() for row in rows)
    size = float(sum(p.numel() for p in space.derive(arch).parameters()))
    assert {row["architecture"]: row["params"] for row in rows}[arch.to_json()] == size
    capsys.readouterr()
    write_architecture(Path("a.json"), arch, space, "my_things:sized")
    assert cli.run(["score", "a.json", "--sample", "0", *asked]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert float(lines[0][1].replace(",", "")) == size
    assert all(np.isfinite(float(line[1].replace(",", ""))) for line in lines)


def test_a_network_of_too_few_logits_is_a_sentence(capsys):
    fractions = {"weights": 0.5, "arch": 0.3, "select": 0.2}
    prepare_splits(Path("splits"), IMAGES, source="my_things:many", seed=0, fractions=fractions, test_fraction=0.2)
    assert cli.run(["score", "my_things:gray", "--data", "splits", "--proxies", "snip,naswot"]) == 0
    assert "the network has 10 logits, and the images have labels up to 11" in capsys.readouterr().out


def test_no_value_is_last_counted_and_told_with_the_architecture(capsys):
    odd_table()
    assert cli.run([*ODD, "--proxies", "naswot,jacob_cov"]) == 0
    printed = capsys.readouterr().out
    assert 'naswot: no value for 1, ranked last; the first is {"last":"nan"}: not a number' in printed
    assert 'jacob_cov: no value for 2, ranked last; the first is {"last":"cut"}: the network is not differentiable' in (
        printed
    )
    missing = {row["proxy"]: row["missing"] for row in pq.read_table("rank/rank.parquet").to_pylist()}
    assert missing == {"params": 0, "macs": 0, "naswot": 1, "jacob_cov": 2}


def test_equal_scores_are_no_order(capsys):
    odd_table()
    assert cli.run([*ODD, "--proxies", "l2_norm"]) == 0
    assert "l2_norm: the same score for all, so it has no order and no correlation" in capsys.readouterr().out
    assert all(np.isnan(row["kendall"]) for row in pq.read_table("rank/rank.parquet").to_pylist())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["--proxies", "snip"], "proxy 'snip' needs labels, and the batch has none"),
        (["--proxies", "snap"], "did you mean 'snip'"),
        (["--batch", "1"], "1 is not in the range x>=2"),
        (["--input-shape", "3,8"], "takes channels,height,width"),
        (["--fidelity", "7"], "the table has no accuracy at epochs 7"),
        (["--metric", "speed"], "the table has no speed"),
    ],
)
def test_rank_refuses_in_a_sentence(capsys, changes, sentence):
    tiny_table(4)
    assert cli.run([*TINY, *changes]) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_a_table_of_another_space_is_refused(capsys):
    table_of([darts(channels=2, layers=3).decide(lambda d: d.values[0])])
    assert cli.run([*TINY, "--proxies", "synflow"]) == 2
    assert "not of this space" in capsys.readouterr().err


def test_score_of_a_module(capsys):
    assert cli.run(["score", "my_things:network", "--input-shape", "3,8,8", "--batch", "4"]) == 0
    printed = capsys.readouterr().out
    assert "beats" not in printed
    scores = {line.split()[0]: line.split()[1] for line in printed.splitlines()[1:]}
    assert scores["params"] == "152"
    assert {"synflow", "naswot", "zen", "meco"} <= set(scores)
    assert "snip" not in scores, "noise has no labels"


def test_score_of_a_module_that_needs_another_shape(capsys):
    assert cli.run(["score", "my_things:fixed", "--input-shape", "3,8,8"]) == 2
    assert "winnow: the network does not take images of shape (64, 3, 8, 8)" in capsys.readouterr().err
    assert cli.run(["score", "my_things:fixed", "--input-shape", "3,4,4", "--proxies", "naswot"]) == 0
    assert "naswot reads ReLUs, and this network calls none" in capsys.readouterr().out


def test_score_of_an_architecture_with_its_place_among_random_ones(capsys):
    space = nas_bench_201(channels=4, cells=1)
    write_architecture(Path("a.json"), space.decide(lambda d: "nor_conv_3x3"), space, "my_things:tiny")
    options = ["--sample", "4", "--batch", "4", "--input-shape", "3,8,8", "--proxies", "params,synflow,snip"]
    assert cli.run(["score", "a.json", "--space", "my_things:tiny", *options]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1][0] == "params"
    assert lines[1][2] == "100%"
    assert "needs labels" in " ".join(lines[3])
    assert cli.run(["score", "a.json", *options]) == 2
    assert "say --space" in capsys.readouterr().err
