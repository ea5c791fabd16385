"""OPANAS from images with boxes to a verdict: necks by single paths, evolution within MACs, the neck that was found."""

import json
import random
import shutil
from dataclasses import replace

import pytest
import torch

from tests.stages.chaos import LOG, NECKS, Arena, Case, differing
from tests.stages.tiny import run_all, tiny
from winnow.core.choosers import distinct
from winnow.pipelines import prepare, search, select
from winnow.run import files
from winnow.run.benches import Benches
from winnow.run.limits import Limits
from winnow.run.work import Work
from winnow.tracking.run import Run
from winnow.train.checkpoint import Keeper

WHOLE = NECKS | {
    "tune.trials": 0,
    "retrain.seeds": [0],
    "retrain.epochs": 4,
    "evaluate.controls": 1,
}


def of(changes):
    return tiny(**{key.replace(".", "__"): value for key, value in changes.items()})


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_all(of(WHOLE), tmp_path_factory.mktemp("necks"))


def test_a_neck_within_the_macs_is_found_judged_by_ap_and_drawn(found):
    told = json.loads((found / "reports/evaluate.json").read_text())
    assert (told["metric"], told["control_n"]) == ("ap", 1)
    assert told["score_mean"] > 0
    arch = json.loads((found / files.ARCHITECTURE).read_text())["choices"]
    assert sorted(arch) == ["neck/1<-0", "neck/2<-0", "neck/2<-1"]
    limits = Limits.of(of(WHOLE), found)
    (bound,) = limits.bounds
    assert told["macs"] <= bound.value
    page = (found / "reports/report.html").read_text()
    assert "the sum of 1 to 2 is the output" in page


def test_the_same_search_again_gives_the_same_bytes(found, tmp_path):
    shutil.copytree(found / "data", tmp_path / "data")
    shutil.copytree(found / "artifacts/inputs", tmp_path / "artifacts/inputs")
    search.main(of(WHOLE), tmp_path)
    select.main(of(WHOLE), tmp_path)
    assert differing(tmp_path / "artifacts/search", found / "artifacts/search") == []
    assert (tmp_path / files.ARCHITECTURE).read_bytes() == (found / files.ARCHITECTURE).read_bytes()


def test_a_killed_search_of_necks_ends_with_the_bytes_of_one_that_was_not(found, tmp_path):
    """Killed and gone on with in other processes than that of `found`. Every file of it: tests/stages/chaos.py."""
    again = tmp_path / "again"
    shutil.copytree(found / "data", again / "data")
    shutil.copytree(found / "artifacts/inputs", again / "artifacts/inputs")
    arena, case = Arena(tmp_path), Case("search fpn", "search", ("prepare",), WHOLE)
    assert not arena.start(case, "search", again, step=random.Random(0).randint(2, 6), delay=0.01)
    assert arena.start(case, "search", again)
    assert "going on with" in (again / LOG).read_text()
    assert differing(again / "artifacts/search", found / "artifacts/search") == []


@pytest.mark.slow
def test_it_is_exported_and_checked_by_its_own_measure(found, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra winnow[onnx]")
    pytest.importorskip("onnxscript", reason="needs the extra winnow[onnx]")
    from winnow.trust.export import export

    sides = export(found / files.MODEL, found, tmp_path)["measured"]["ap"]
    assert sides["onnx"] == pytest.approx(sides["pytorch"], abs=0.1)


@pytest.mark.slow
def test_evolution_finds_better_than_the_mean_of_twenty_random_necks(tmp_path):
    """By inherited weights, on images that neither saw."""
    evolution = {f"select.evolution.{name}": number for name, number in {"population": 10, "generations": 4}.items()}
    space = NECKS["space.fpn"] | {"nodes": 3}
    params = of(NECKS | evolution | {"space.fpn": space, "search.epochs": 60, "search.lr": 5e-3})
    for stage in (prepare, search, select):
        stage.main(params, tmp_path)
    work = Work("evaluate", params, tmp_path, torch.device("cpu"), Run("evaluate", None))
    bench = Benches(work, Keeper()).bench(0)
    bench = replace(bench, judged=work.split("test"))
    found = files.read_architecture(tmp_path / files.ARCHITECTURE, bench.space, "fpn")
    drawn = distinct(bench.space, random.Random(0), 20, lambda arch: arch != found and bench.allowed(arch))
    assert bench.score(found) > sum(map(bench.score, drawn)) / len(drawn) > 0
