"""The tiny pipeline, run once for all tests of the stages."""

import shutil
from pathlib import Path

import pytest
import torch

from tests.stages.tiny import run_all, tiny
from winnow.pipelines import prepare


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    """Stages set threads and determinism for their process; tests share one."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error" if strict else "default")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the splits of the tiny pipeline and nothing else; `folder` is a copy to work in."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare.main(tiny(), folder)
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "work")
    return tmp_path / "work"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole tiny pipeline has run: NAS-Bench-201, DARTS, all three selections."""
    methods = ["perturbation", "magnitude", "evolution"]
    return run_all(tiny(select__methods=methods), tmp_path_factory.mktemp("pipeline"))
