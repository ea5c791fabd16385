import csv
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from winnow.cli import main as cli
from winnow.core.choosers import uniform
from winnow.predictors import neural
from winnow.spaces import build
from winnow.spaces.darts import darts
from winnow.spaces.nas_bench_201 import OPS, from_string
from winnow.tools.predicting import shape_for
from winnow.trials.outcome import COMPLETE
from winnow.trials.table import Row, as_table, write_table

WORTH = dict(zip(OPS, (0.0, 1.0, 2.0, 3.0, 0.5), strict=True))


def made(path: Path, count: int = 120) -> Path:
    """A table of its own: accuracies that are a sum over edges."""
    rows = []
    for i in range(count):
        ops = [OPS[(i * 7919 // 5**k) % 5] for k in range(6)]
        cell = from_string("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops))
        value = {"cifar10_valid": 80 + sum(WORTH[op] for op in ops)}
        text = cell.to_json()
        rows.append(Row(i, text, cell.digest, text, {}, {}, value, COMPLETE, None, 0, {"epochs": 200.0}, 0.0, "", ""))
    write_table(path, as_table(rows))
    return path


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(neural, "STEPS", 10)


def test_transformers_and_chains_are_predicted_at_their_own_size(tmp_path, capsys):
    for name, shape in (("vit", (3, 224, 224)), ("macro", (3, 32, 32))):
        assert shape_for(name) == shape
        with torch.device("meta"):
            space = build(name, {})
        rows, rng = [], random.Random(0)
        for i in range(8):
            arch = space.decide(uniform(rng))
            text, value = arch.to_json(), {"accuracy": float(len(set(arch.values())) + i % 2)}
            rows.append(Row(i, text, arch.digest, text, {}, {}, value, COMPLETE, None, 0, {}, 0.0, "", ""))
        write_table(tmp_path / f"{name}.parquet", as_table(rows))
        options = ["--table", f"{name}.parquet", "--space", name, "--train", "4", "--metric", "accuracy"]
        assert cli.run(["predict", *options, "--predictors", "tg_nas,gcn"]) == 0
        found = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:-1]]
        assert set(found) == {"tg_nas", "gcn", "params"}


def test_predictions_are_written_and_shown_beside_the_size(tmp_path, capsys):
    options = ["--table", str(made(tmp_path / "t.parquet")), "--space", "nas_bench_201", "--train", "60"]
    assert cli.run(["predict", *options, "--predictors", "ridge,gp:path,gcn"]) == 0
    printed = capsys.readouterr()
    assert "fitting ridge to 60" in printed.err
    assert {line.split()[0] for line in printed.out.splitlines()[2:-1]} == {"ridge", "gp:path", "gcn", "params"}
    table = pq.read_table("predict/predictions.parquet")
    names = ["architecture", "truth", "train", "params", "ridge", "gp:path", "gp:path sd", "gcn", "gcn sd"]
    assert table.column_names == names
    assert sum(table["train"].to_pylist()) == 60
    with open("predict/predict.csv") as file:
        rows = {row["predictor"]: row for row in csv.DictReader(file)}
    ridge = rows["ridge"]
    assert float(ridge["kendall"]) > 0.9
    assert float(ridge["kendall_low"]) <= float(ridge["kendall"]) <= float(ridge["kendall_high"])
    before = Path("predict/predict.csv").read_text().splitlines()
    assert cli.run(["predict", *options, "--predictors", "ridge,gp:path,gcn"]) == 0
    after = Path("predict/predict.csv").read_text().splitlines()
    assert [line.rpartition(",")[0] for line in after] == [line.rpartition(",")[0] for line in before]


def test_architectures_may_answer_different_decisions(tmp_path, capsys, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "from winnow.spaces.darts import darts\n\ndef build():\n    return darts(channels=4, layers=3)\n"
    (tmp_path / "small_darts.py").write_text(text)
    with torch.device("meta"):
        space = darts(channels=4, layers=3)
    rng, rows = random.Random(0), []
    for i in range(16):
        arch = space.decide(uniform(rng))
        value = {"accuracy": float(sum("sep" in str(v) for v in arch.values()))}
        text = arch.to_json()
        for _ in range(2):
            rows.append(Row(len(rows), text, arch.digest, text, {}, {}, value, COMPLETE, None, i, {}, 0.0, "", ""))
    write_table(tmp_path / "t.parquet", as_table(rows))
    options = [
        "--table",
        str(tmp_path / "t.parquet"),
        "--space",
        "small_darts:build",
        "--metric",
        "accuracy",
        "--train",
        "10",
    ]
    assert cli.run(["predict", *options, "--predictors", "ridge,ridge:adjacency,gcn", "--sample", "15"]) == 0
    assert "15 architectures of small_darts:build, 10 of them fitted" in capsys.readouterr().out
    with open("predict/predict.csv") as file:
        rows = {row["predictor"]: row for row in csv.DictReader(file)}
    assert rows["ridge"]["held_out"] == "5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--train": "119"}, "train takes 2 to"),
        ({"--predictors": "rigde"}, "did you mean 'ridge'"),
        ({"--space": "darts"}, "not of this space"),
        ({"--metric": "cifar11"}, "has no cifar11; it has cifar10_valid"),
        ({"--fidelity": "12"}, "only at epochs 200"),
        ({"--table": "none.parquet"}, "no trials table"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(tmp_path, capsys, change, message):
    options = {
        "--table": str(made(tmp_path / "t.parquet")),
        "--space": "nas_bench_201",
        "--predictors": "ridge",
        "--train": "60",
    }
    assert cli.run(["predict", *(part for pair in (options | change).items() for part in pair)]) == 2
    assert message in capsys.readouterr().err
