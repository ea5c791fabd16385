"""Stage study end to end: killed once, it goes on; its table, verdict and picture."""

import errno
import json
import os
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.stages.tiny import ROOT, tiny
from winnow.core.errors import Refused
from winnow.pipelines import search, study
from winnow.pipelines import select as selecting
from winnow.run import files, report, study_cell
from winnow.run.combinations import INHERITED, combinations
from winnow.run.work import search_space
from winnow.search.methods.subset import load_pretrained
from winnow.spaces import build
from winnow.spaces.nas_bench_201 import to_string
from winnow.tasks import task_named
from winnow.tools.plan_study import plan_study

PARTS = {
    "methods": {"darts": {"search.strategy": "darts"}, "blank": {"search.strategy": "blank"}},
    "selections": {"magnitude": {"select.methods": ["magnitude"]}, "likely": {"select.methods": ["likeliest"]}},
    "seeds": [0],
}


@pytest.fixture
def prepared(finished, tmp_path):
    os.symlink(finished / "data", tmp_path / "data")
    return tmp_path


def parameters(**changes):
    parts = {f"study__{name}": value for name, value in PARTS.items()}
    return tiny(search__epochs=1, select__likeliest__count=2, **{**parts, **changes})


def test_a_killed_study_goes_on_and_computes_nothing_twice(prepared, monkeypatch):
    params, calls = parameters(), []
    plain = {"search": search.main, "select": selecting.main}

    def counted(kind):
        def main(*arguments):
            calls.append(kind)
            if len(calls) == 3:
                raise KeyboardInterrupt
            plain[kind](*arguments)

        return main

    monkeypatch.setattr(search, "main", counted("search"))
    monkeypatch.setattr(selecting, "main", counted("select"))
    with pytest.raises(KeyboardInterrupt):
        study.main(params, prepared)
    assert calls == ["search", "select", "select"]
    assert not (prepared / study.TABLE).exists()
    study.main(params, prepared)
    assert calls == ["search", "select", "select", "select"]  # blank has neither selection: it is left out
    study.main(params, prepared)
    assert len(calls) == 4
    rows = pq.read_table(prepared / study.TABLE).to_pylist()
    assert [(row["method"], row["selection"]) for row in rows] == [("darts", "magnitude"), ("darts", "likely")]
    told = json.loads((prepared / "reports/study.json").read_text())
    assert told["units"] == {"as above": INHERITED}
    assert told["baseline"] == "darts, magnitude"
    assert [(g["over"], g["outcome"]) for g in told["gains"]] == [("darts, magnitude", "cannot tell")]
    assert (prepared / study.PICTURE).stat().st_size > 1000


def test_a_failing_cell_fails_alone_and_is_tried_again(prepared, monkeypatch, capsys):
    params, plain = parameters(), selecting.main

    def main(params, folder):
        if params.select.methods == ["likeliest"]:
            raise ZeroDivisionError("of all things")
        plain(params, folder)

    with monkeypatch.context() as broken:
        broken.setattr(selecting, "main", main)
        with pytest.raises(
            Refused, match=r"1 of 2 cells failed, first as above darts likely 0: ZeroDivisionError: of all"
        ):
            study.main(params, prepared)
    rows = pq.read_table(prepared / study.TABLE).to_pylist()
    assert [row["score"] is None for row in rows] == [False, True]
    assert "of all things" in rows[1]["error"]
    told = json.loads((prepared / "reports/study.json").read_text())
    assert list(told["failed"]) == ["as above darts likely 0"]
    assert "1 of 2 cells failed" in told["verdict"]
    assert "cells are there from before" not in capsys.readouterr().out
    study.main(params, prepared)
    assert all(row["score"] is not None for row in pq.read_table(prepared / study.TABLE).to_pylist())
    assert "1 of 2 cells are there from before" in capsys.readouterr().out


def test_a_full_disk_and_ctrl_c_end_the_study(prepared, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    for error, cause in ((full, None), (Refused("the disk is full"), full), (KeyboardInterrupt(), None)):

        def main(params, folder, error=error, cause=cause):
            raise error from cause

        monkeypatch.setattr(search, "main", main)
        with pytest.raises((Refused, KeyboardInterrupt)) as told:
            study.main(parameters(), prepared)
        assert "cells failed" not in str(told.value)


def test_a_cell_is_keyed_by_the_code_that_it_runs(tmp_path, monkeypatch):
    """A new method, or another one's code, computes that method alone."""
    methods = {name: {"search.strategy": name} for name in ("darts", "sgas")}
    params = parameters(study__methods=methods, study__selections={"m": {"select.methods": ["magnitude"]}})
    darts, sgas = combinations(params, tmp_path)[0]
    for stage in ("search", "select"):
        assert "winnow/search/methods/darts.py" in study_cell.code_of(darts, stage)
        assert "winnow/search/methods/sgas.py" not in study_cell.code_of(darts, stage)
        assert "winnow/search/methods/sgas.py" in study_cell.code_of(sgas, stage)
        assert "winnow/search/mixture.py" in study_cell.code_of(darts, stage)
        assert "winnow/spaces/nas_bench_201.py" in study_cell.code_of(darts, stage)
        for name in study_cell.code_of(darts, stage):
            assert not name.startswith(("winnow/look", "winnow/tracking", "winnow/cli"))
    assert "winnow/run/benches.py" in study_cell.code_of(darts, "select")


def test_code_that_changed_is_named_and_only_its_cells_are_computed_again(prepared, monkeypatch, capsys):
    params, trained = parameters(study__selections={"magnitude": {"select.methods": ["magnitude"]}}), []
    plain, code = search.main, study_cell.code_of
    monkeypatch.setattr(search, "main", lambda *given: (trained.append(1), plain(*given)))
    study.main(params, prepared)
    study.main(params, prepared)
    assert len(trained) == 1
    changed = {"winnow/search/mixture.py": "0" * 12}
    monkeypatch.setattr(study_cell, "code_of", lambda *given: {**code(*given), **changed})
    study.main(params, prepared)
    assert len(trained) == 2
    assert "this supernet was there, but winnow/search/mixture.py changed" in capsys.readouterr().out


def test_a_changed_table_computes_selections_again_and_no_supernet(prepared, tmp_path, monkeypatch):
    space = search_space(tiny(), prepared, "cpu")
    names = [to_string(arch) for arch in space.every()]
    params, calls = parameters(select__table="bench.parquet"), []
    plain = {"search": search.main, "select": selecting.main}
    for kind in plain:
        module = {"search": search, "select": selecting}[kind]
        monkeypatch.setattr(module, "main", lambda *given, kind=kind: (calls.append(kind), plain[kind](*given)))
    for first in (0.0, 1.0):
        values = [first + i for i in range(len(names))]
        pq.write_table(pa.table({"arch_str": names, "cifar10_valid_200": values}), prepared / "bench.parquet")
        study.main(params, prepared)
    assert calls == ["search", "select", "select", "select", "select"]


def test_a_copied_study_reads_its_own_data_and_a_moved_one_goes_on(finished, tmp_path):
    """Links lead where the project lies now, never to where it lay."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(finished / "data", first / "data")
    study.main(parameters(), first)
    shutil.copytree(first, second, symlinks=True)
    first.rename(tmp_path / "away")
    cells = second / ".winnow/study"
    for link in (path for path in cells.rglob("*") if path.is_symlink()):
        assert second in link.resolve(strict=True).parents
    for mark in [*cells.glob("supernet-*/done"), *cells.glob("select-*/cell.json")]:
        mark.unlink()
    study.main(parameters(), second)
    stale = next(cells.glob("supernet-*")) / "data"
    stale.unlink()
    stale.symlink_to(tmp_path / "away/data")  # as an older release left them
    (stale.parent / "done").unlink()
    for mark in cells.glob("select-*/cell.json"):
        mark.unlink()
    study.main(parameters(), second)
    assert stale.resolve() == (second / "data").resolve()


def test_the_scores_of_a_table_are_those_of_its_column(prepared, tmp_path):
    space = search_space(tiny(), prepared, "cpu")
    names = [to_string(arch) for arch in space.every()]
    table = pa.table({"arch_str": names, "cifar10_valid_200": [float(i) for i in range(len(names))]})
    pq.write_table(table, tmp_path / "bench.parquet")
    params = parameters(select__table="bench.parquet")
    study.main(params, prepared)
    for row in pq.read_table(prepared / study.TABLE).to_pylist():
        choices = json.loads(row["architecture"])
        assert names[int(row["score"])] == to_string(choices)
    with pytest.raises(Refused, match=r"the table has no column 'top1'; it has cifar10_valid_200"):
        study.main(parameters(select__table="bench.parquet", study__column="top1"), prepared)


def test_plan_counts_what_is_not_there_yet(prepared):
    params = parameters(study__seeds=[0, 1])
    before = plan_study(params, prepared)
    assert (before.cells, before.there, before.supernets) == (4, 0, 2)
    assert "decide nothing" in before.power[0]
    assert list(before.seconds) == ["as above, darts"]
    study.main(parameters(study__seeds=[0]), prepared)
    after = plan_study(params, prepared)
    assert (after.cells, after.there, after.supernets) == (4, 2, 1)
    study.main(params, prepared)
    assert plan_study(params, prepared).seconds == {}


def test_dvc_knows_one_pipeline_and_calls_no_study_out_of_date():
    found = [path.relative_to(ROOT) for path in ROOT.rglob("dvc.yaml") if ".venv" not in path.parts]
    assert found == [Path("dvc.yaml")]
    assert "study" not in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def test_a_pretrained_network_of_another_space_is_refused(finished, tmp_path):
    space, tensors = search_space(tiny(), finished, "cpu"), files.read_tensors(finished / files.SUPERNET, "search")[0]
    load_pretrained(space, tensors, "s.safetensors")
    wider = search_space(tiny(space__nas_bench_201__channels=8), finished, "cpu")
    deeper = search_space(tiny(space__nas_bench_201__cells=2), finished, "cpu")
    for other, odd in ((wider, r"is \(4, 1, 3, 3\) there, \(8, 1, 3, 3\) here"), (deeper, "it lacks")):
        with pytest.raises(Refused, match="holds the weights of another network") as told:
            load_pretrained(other, tensors, "s.safetensors")
        assert "\n" not in str(told.value)
        assert re.search(odd, str(told.value))


def test_a_classifier_of_other_classes_keeps_its_own_weights(finished):
    space = build("nas_bench_201", {"channels": 4, "cells": 1}, classes=7, image_channels=1, image_size=8)
    last = [name for name in space.state_dict() if name.endswith("weight")][-1]
    before = space.state_dict()[last].clone()
    tensors, _ = files.read_tensors(finished / files.SUPERNET, "search")
    load_pretrained(space, tensors, "s.safetensors")
    assert all(
        (tensors[name] == tensor).all()
        for name, tensor in space.state_dict().items()
        if tensor.shape == tensors[name].shape
    )
    assert (space.state_dict()[last] == before).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "unas", "unas__warmup": 0, "unas__latency_ms": 1e-4, "unas__reward_samples": 4},
        {"strategy": "pc_darts", "pc_darts__warmup": 0, "pc_darts__share": 2},
        {"strategy": "subset", "subset__draws": 1, "method": "threshold"},
        {"strategy": "sdarts", "method": "perturbation"},
        {"strategy": "setn", "method": "likeliest"},
    ],
)
def test_strategies_go_through_search_and_select(prepared, changes):
    changes = dict(changes)
    method = changes.pop("method", "magnitude")
    params = tiny(
        search__epochs=1,
        select__methods=[method],
        select__likeliest__count=2,
        select__perturbation__tune_epochs=1,
        **{f"search__{name}": value for name, value in changes.items()},
    )
    search.main(params, prepared)
    selecting.main(params, prepared)
    told = json.loads((prepared / "reports/search.json").read_text())
    assert "collapse" in told
    assert ("eigenvalue" in told) == (changes["strategy"] != "subset")
    assert len(json.loads((prepared / files.ARCHITECTURE).read_text())["choices"]) == 6


def test_the_report_says_in_red_that_a_mixture_collapsed(finished, tmp_path):
    content = json.loads((finished / "reports/search.json").read_text())
    for name in ("artifacts", "data"):
        os.symlink(finished / name, tmp_path / name)
    (tmp_path / "reports").mkdir()
    for path in (finished / "reports").glob("*.csv"):
        os.symlink(path, tmp_path / "reports" / path.name)
    for said in ("", "6 of the 6 heaviest operations have no parameters"):
        (tmp_path / "reports/search.json").write_text(json.dumps({**content, "collapse": said}))
        shown = report._search(tmp_path, task_named("image_classification"))
        assert ("class='alarm'>The mixture collapsed: 6 of" in shown) == bool(said)


def test_prepare_is_what_the_study_asks_for(tmp_path):
    with pytest.raises(Refused, match="prepare"):
        study.main(parameters(), tmp_path)
