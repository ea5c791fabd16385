"""A few kills in the middle of tiny stages; `make chaos` does a hundred over all of them."""

import random
import shutil

import pytest

from tests.stages.chaos import SHORT, Arena, content, differing
from tests.stages.tiny import tiny
from winnow.pipelines import retrain
from winnow.run import files


@pytest.fixture(scope="module")
def arena(tmp_path_factory):
    return Arena(tmp_path_factory.mktemp("chaos"))


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_a_killed_stage_ends_with_the_bytes_of_one_that_was_not(arena, case):
    ready, whole, steps = arena.prepared(case)
    draw = random.Random(case.name)
    moments = [(draw.randint(2, steps // 2), draw.uniform(0, 0.02)) for _ in range(2)]
    found = arena.ordeal(case, ready, whole, moments)
    assert found["identical"] == found["kills"] > 0
    assert found["resumed"] == found["kills"]


def test_the_comparison_sees_one_changed_byte_and_a_missing_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "reports").mkdir(parents=True)
        (tmp_path / name / "reports/search.csv").write_text("epoch,loss\n0,1.5\n")
        (tmp_path / name / "log").write_text(name)
    assert differing(tmp_path / "a", tmp_path / "b") == []
    (tmp_path / "a/reports/search.csv").write_text("epoch,loss\n0,1.4\n")
    (tmp_path / "b/reports/select.csv").write_text("")
    assert differing(tmp_path / "a", tmp_path / "b") == ["reports/search.csv", "reports/select.csv"]
    assert content(tmp_path / "nothing") is None


def test_seeds_of_retraining_leave_each_other_alone(finished, tmp_path):
    for name in ("data", "artifacts"):
        shutil.copytree(finished / name, tmp_path / name)
    other = tmp_path / ".winnow/checkpoints/retrain-1-0123456789ab"
    other.mkdir(parents=True)
    retrain.main(tiny(), tmp_path, 0)
    assert other.is_dir()
    assert (tmp_path / files.retrained(0)).read_bytes() == (finished / files.retrained(0)).read_bytes()
