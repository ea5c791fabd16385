import os
from pathlib import Path

import pytest

from winnow.trials.lookup import Table
from winnow.trials.tables import import_nas_bench_201


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture(scope="session")
def nasbench201() -> Path:
    folder = Path(os.environ.get("WINNOW_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "nasbench201" / "nasbench201.parquet"
    if not path.exists():
        pytest.skip(f"no {path}: set WINNOW_TEST_DATA to a folder with nasbench201/nasbench201.parquet")
    return path


@pytest.fixture(scope="session")
def imported(nasbench201, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("table") / "nb201.parquet"
    assert import_nas_bench_201([nasbench201], path)[0] == 2 * 15_625
    return path


@pytest.fixture(scope="session")
def table(imported) -> Table:
    return Table.read(imported)
