"""The study of DARTS-PT on real CIFAR-10, far smaller than published. At this size the published order does not show
(docs/benchmarks.md): what is tested is that the study runs on real data and tells what the benchmark's table says.

NAS-Bench-201 with 4 channels and one cell a stage, 3,000 images of 16 x 16, 20 epochs whose logits move as far as in
the published 100 (rate x steps). True accuracies are those of the benchmark's table.
"""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.stages.tiny import ROOT
from winnow.pipelines import prepare, study
from winnow.stage.combinations import summary
from winnow.stage.params import check_params

DATA = Path(os.environ.get("WINNOW_TEST_DATA", ROOT.parent / "shared" / "data"))
TABLE = DATA / "nasbench201/nasbench201.parquet"
SMALL = {
    "runtime": {"threads": 1},
    "data": {
        "source": "parquet", "path": str(DATA / "cifar10"), "limit_train": 3000, "limit_test": 500, "image_size": 16,
        "fractions": {"weights": 0.5, "arch": 0.4, "select": 0.1},
    },
    "search": {"epochs": 20, "lr": 0.05, "logits_lr": 0.025},
    "select": {"batch": 512, "splits": ["arch"], "table": str(TABLE)},
    "tracking": {"enabled": False},
}  # fmt: skip


def merged(content: dict, changes: dict) -> dict:
    return {
        **content,
        **{k: merged(content[k], v) if isinstance(v, dict) else v for k, v in changes.items()},
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    not TABLE.is_file(), reason=f"no {TABLE}: set WINNOW_TEST_DATA to a folder with cifar10, nasbench201"
)
def test_the_study_tells_what_its_cells_are_worth(tmp_path):
    content = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALL)
    content["space"]["nas_bench_201"] = {"channels": 4, "cells": 1}
    content["select"]["perturbation"]["tune_epochs"] = 1
    params = check_params(content)
    prepare.main(params, tmp_path)
    study.main(params, tmp_path)
    rows = pq.read_table(tmp_path / study.TABLE).to_pylist()
    told = summary(rows)
    assert [row["n"] for row in told] == [3] * 5
    possible = pq.read_table(TABLE)["cifar10_valid_200"].to_pylist()
    assert all(min(possible) <= row["mean"] <= max(possible) for row in told)
    assert max(row["mean"] for row in told) > sum(possible) / len(possible), "no better than a cell at random"
