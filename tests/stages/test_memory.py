"""The pipeline on splits that stay on disk, and with cells that are computed twice."""

import json
from pathlib import Path

import pytest

from tests.stages.tiny import run_all, tiny
from winnow.config.params import Params
from winnow.pipelines import prepare, search
from winnow.run import files
from winnow.tools.plan import plan

ON_DISK = {"data__memory_gib": 0.0, "select__methods": ["perturbation", "evolution"]}


def searched(params: Params, folder: Path) -> dict[str, bytes]:
    prepare.main(params, folder)
    search.main(params, folder)
    return {path.name: path.read_bytes() for path in (folder / files.SEARCH).iterdir()}


@pytest.mark.slow
def test_every_stage_reads_from_disk(tmp_path, capsys):
    run_all(tiny(**ON_DISK), tmp_path)
    assert json.loads((tmp_path / "reports/evaluate.json").read_text())["accuracies"]
    decoded = sorted(path.name for path in (tmp_path / ".winnow/decoded").iterdir())
    assert decoded == sorted(
        ["lock", *(f"{name}.{end}" for name in ("weights", "arch", "select", "test") for end in ("json", "image.rows"))]
    )
    assert capsys.readouterr().out.count("decoding split") == 4  # once each, whichever stage was first


def test_a_search_that_computes_cells_twice_ends_in_the_same_files(tmp_path):
    plain = searched(tiny(**ON_DISK), tmp_path / "plain")
    assert searched(tiny(**ON_DISK, search__recompute=True), tmp_path / "again") == plain


def test_plan_says_where_the_splits_are(folder):
    assert plan(tiny(), folder).data.endswith("GiB decoded, held in memory (data.memory_gib: 2)")
    told = plan(tiny(data__memory_gib=0.0), folder).data
    assert told.endswith("over data.memory_gib: 0, so read from disk and shuffled by block")
