import csv
import os
from pathlib import Path

import pytest

from winnow import cli


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
