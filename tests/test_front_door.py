"""`import winnow`: what a Python user needs, when it is asked for; the examples in docstrings run."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import winnow

SOURCES = Path(winnow.__file__).parent
TAUGHT = sorted(path for path in SOURCES.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TAUGHT, ids=[str(path.relative_to(SOURCES)) for path in TAUGHT])
def test_examples_in_docstrings_run(path):
    parts = path.relative_to(SOURCES).with_suffix("").parts
    module = importlib.import_module(".".join(["winnow", *(part for part in parts if part != "__init__")]))
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


def test_the_front_door_and_the_core_are_taught_by_examples():
    assert {"__init__.py", "space.py", "holes.py", "replace.py"} <= {path.name for path in TAUGHT}


def test_every_name_is_there_and_listed():
    for name in winnow.__all__:
        assert getattr(winnow, name) is not None
        assert name in dir(winnow)
    with pytest.raises(AttributeError, match=r"module 'winnow' has no 'Spaec'; it has .*Space"):
        winnow.Spaec  # noqa: B018


def test_importing_it_costs_nothing():
    heavy = "torch", "numpy", "mlflow", "optuna", "pyarrow", "pydantic"
    code = f"import sys, winnow; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
