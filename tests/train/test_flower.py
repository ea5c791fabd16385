"""examples/flower, where an environment of its own is at hand: WINNOW_FLOWER_PYTHON names its interpreter."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = os.environ.get("WINNOW_FLOWER_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(PYTHON is None, reason="needs an environment with Flower, see examples/flower/README.md")
def test_clients_over_the_loopback_give_equal_bits():
    told = subprocess.run(
        [PYTHON, ROOT / "examples/flower/compare.py"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert told.returncode == 0, told.stderr[-2000:]
    assert "largest difference of a weight 0; equal to the bit" in told.stdout
