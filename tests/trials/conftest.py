import os
from pathlib import Path

import pytest


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
