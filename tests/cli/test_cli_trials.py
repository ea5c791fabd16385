import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.cli import main as cli
from winnow.spaces.nas_bench_201 import OPS, to_string
from winnow.trials.lookup import Table


@pytest.fixture(scope="module")
def source() -> Path:
    folder = Path(os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "nasbench201" / "nasbench201.parquet"
    if not path.exists():
        pytest.skip(f"no {path}: set WINNOW_TEST_DATA to a folder with nasbench201/nasbench201.parquet")
    return path


def test_a_benchmark_is_imported_shown_and_replayed(source, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["table", "import", "nas_bench_201", str(source)]) == 0
    assert "wrote tables/nas_bench_201.parquet: 31,250 rows" in capsys.readouterr().out
    assert cli.run(["table", "show", "tables/nas_bench_201.parquet"]) == 0
    shown = capsys.readouterr().out
    assert "31,250 complete; 15,625 architectures of 6 decisions" in shown
    assert "91.6067" in shown
    options = ["--seeds", "5", "--evaluations", "50", "--table", "tables/nas_bench_201.parquet"]
    assert cli.run(["replay", "--strategy", "regularised_evolution", "--strategy", "hyperband", *options]) == 0
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ["mean", "evaluations", "regularised_evolution", "hyperband", "random", "wrote"]
    with open("replay/regret.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 50
    assert set(rows[0]) == {"strategy", "evaluations", "regret", "low", "high"}
    assert "regularised_evolution" in Path("replay/regret.svg").read_text()


def test_what_cannot_be_done_is_a_sentence(tmp_path, capsys):
    assert cli.run(["table", "show", str(tmp_path / "none.parquet")]) == 2
    assert "no trials table" in capsys.readouterr().err
    assert cli.run(["table", "import", "nas_bench_201", str(tmp_path / "none")]) == 2
    assert "no file" in capsys.readouterr().err
    assert cli.run(["replay", "--strategy", "random", "--table", str(tmp_path / "none")]) == 2
    assert "no trials table" in capsys.readouterr().err


def benchmark_file(path, turned=False, **columns):
    """A whole file of the benchmark's shape; `turned`: with the cells the other way round."""
    edges = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
    named = [f"{node}<-{source}" for node, source in edges]
    cells = [dict(zip(named, ops, strict=True)) for ops in itertools.product(OPS, repeat=6)]
    rows = {"arch_str": [to_string(cell) for cell in cells], **columns}
    rows = {name: list(values)[:: -1 if turned else 1] for name, values in rows.items()}
    pq.write_table(pa.table({"index": list(range(len(cells))), **rows}), path)
    return str(path)


def test_files_of_a_benchmark_make_one_table_and_what_is_left_out_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values = np.linspace(5, 60, 15_625)
    one = benchmark_file(tmp_path / "a.parquet", imagenet16_120_test_200=values, seconds=values)
    other = benchmark_file(tmp_path / "b.parquet", turned=True, cifar100_valid_200=values + 1, flops=values)
    assert cli.run(["table", "import", "nas_bench_201", one, other, "--out", "t.parquet"]) == 0
    printed = capsys.readouterr().out
    assert "left out, as no results of nas_bench_201: a.parquet: seconds, b.parquet: flops" in printed
    table = Table.read(tmp_path / "t.parquet")
    assert [name for name, _ in table.columns] == ["cifar100_valid", "imagenet16_120_test", "macs", "params"]
    first, second = (table.column(n, {"epochs": 200.0}) for n in ("imagenet16_120_test", "cifar100_valid"))
    np.testing.assert_allclose(second, first + 1)  # of the same cell, however a file orders them
    differing = benchmark_file(tmp_path / "c.parquet", cifar100_valid_200=values)
    assert cli.run(["table", "import", "nas_bench_201", other, differing]) == 2
    assert "c.parquet has another cifar100_valid_200 than a file before it" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "tables").exists()
